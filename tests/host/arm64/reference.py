# SPDX-License-Identifier: MIT
"""Reference unwinder, written from the kernel's: it defines the right result.

kunwind_next(), kunwind_next_frame_record() and kunwind_recover_return_address() in
arch/arm64/kernel/stacktrace.c, unwind_consume_stack() in
arch/arm64/include/asm/stacktrace/common.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from kernel import Kernel
from objects import IRQ_STACK, NMI_STACK, STACK_SIZE

from arm64.execution import FINAL, PT_REGS, Execution

_MASK = (1 << 64) - 1
LIMIT = 300


class Unsure(Exception):
    """The kernel's unwinder stops with an error."""


@dataclass
class Unwinder:
    """State of the unwinder: its current frame.

    :ivar stacks: Ranges of addresses that records may still be in.
    """

    kernel: Kernel
    pc: int
    fp: int
    stacks: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kernel = self.kernel
        task = kernel.memory.word(kernel.at(kernel.task, "struct task_struct", "stack"))
        self.stacks = [(task, task + kernel.stack_size)]
        self.stacks += [(start, start + STACK_SIZE) for start in (IRQ_STACK, NMI_STACK)]
        self._current = -1
        regs = task + kernel.stack_size - kernel.types.size("struct pt_regs")
        self._last = kernel.at(regs, "struct pt_regs", "stackframe")

    def _load(self, address: int) -> int:
        data = self.kernel.memory.read(address & _MASK, 8)
        if data is None:
            raise Unsure(f"no memory at {address:#x}")
        return int(struct.unpack("<Q", data)[0])

    def _consume(self, address: int, size: int) -> None:
        """Take an object from its stack; what lies below it is gone, and any earlier stack."""
        holds = [low <= address and address + size <= high for low, high in self.stacks]
        if not any(holds):
            raise Unsure(f"no stack at {address:#x}")
        number = holds.index(True)
        if number != self._current and self._current >= 0:
            self.stacks[self._current] = (0, 0)
        self._current = number
        self.stacks[number] = (address + size, self.stacks[number][1])

    def _recover(self) -> None:
        """Undo what tracers replaced."""
        symbols = self.kernel.symbols
        lists = {
            symbols.get("graph_return"): self.kernel.graphed,
            symbols.get("rethook"): self.kernel.rethooked,
        }
        while self.pc in lists:  # the kernel undoes one of two replacements, the walk both
            if self.fp not in lists[self.pc]:
                raise Unsure("a return address is in no list")
            self.pc = lists[self.pc][self.fp]

    def step(self) -> bool:
        """Step to the next frame; return False at the end of the stack."""
        record = self.fp
        if record == self._last:
            return False
        if record & 7:
            raise Unsure("FP is not aligned")
        self._consume(record, 16)
        self.fp, lr = self._load(record), self._load(record + 8)
        if not self.fp and not lr and "frame_record_meta" in self.kernel.layout.types:
            self._consume(record + 16, 8)
            self._step_meta(record, self._load(record + 16))
            return True
        self.pc = lr | self.kernel.code_mask
        self._recover()
        return True

    def _step_meta(self, record: int, kind: int) -> None:
        """Take the registers around a record of zeros."""
        if kind != PT_REGS:
            raise Unsure("the end is elsewhere" if kind == FINAL else "a record of zeros")
        regs = record - self.kernel.types.offset("struct pt_regs", "stackframe")
        self.pc = self._load(self.kernel.at(regs, "struct pt_regs", "pc"))
        self.fp = self._load(self.kernel.at(regs, "struct pt_regs", "regs[29]"))


def stack(unwinder: Unwinder, limit: int = LIMIT) -> list[int]:
    """Return the frames from the current one on, like arch_stack_walk().

    :raises Unsure: if the kernel's own unwinder would stop with an error.
    """
    found: list[int] = []
    while len(found) < limit:
        found.append(unwinder.pc)
        if not unwinder.step():
            break
    return found


def from_entry(execution: Execution) -> Unwinder:
    """Start at FUNC's first instruction, where LR has the return address."""
    probe = Unwinder(execution.kernel, execution.lr, execution.fp)
    probe._recover()
    return probe
