# SPDX-License-Identifier: MIT
"""Reference unwinder, written from the kernel's: it defines the right result.

unwind_next_frame() in arch/x86/kernel/unwind_orc.c and unwind_frame.c, unwind_recover_ret_addr() in
arch/x86/include/asm/unwind.h, __kernel_text_address() in kernel/extable.c. It takes rules from the
kernel's functions, not from its tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from functions import Text
from kernel import Kernel
from objects import STACK_SIZE

from x86.execution import REGISTERS, REGS, Execution
from x86.rules import ENTRY, FRAME, Orc

_OFFSETS = {name: 8 * number for number, name in enumerate(REGISTERS)}
_MASK = (1 << 64) - 1
LIMIT = 300


class Unsure(Exception):
    """The kernel's unwinder stops with an error."""


@dataclass
class Unwinder:
    """State of the unwinder: its current frame.

    :ivar regs: Address of the saved registers of an interrupted frame, or 0.
    :ivar whole: All registers were saved there.
    :ivar before: Address of the whole registers saved before, if these are partial.
    """

    kernel: Kernel
    ip: int
    sp: int
    bp: int
    regs: int = 0
    whole: bool = True
    before: int = 0
    signal: bool = False

    def _load(self, address: int) -> int:
        address &= _MASK
        data = self.kernel.memory.read(address, 8)
        if data is None:
            raise Unsure(f"no memory at {address:#x}")
        return int(struct.unpack("<Q", data)[0])

    def _register(self, regs: int, name: str) -> int:
        return self._load(regs + _OFFSETS[name])

    def _texts(self) -> Iterable[Text]:
        yield self.kernel.text
        yield self.kernel.init_text
        for placed in (*self.kernel.modules, *self.kernel.programs):
            yield placed.text

    def is_text(self, address: int) -> bool:
        """Do as __kernel_text_address()."""
        in_copy = any(start <= address < start + size for start, size, _ in self.kernel.ops)
        # "Ensure that we detect return addresses as part of the program, when the final
        # instruction is a call": bpf_tree_comp() in kernel/bpf/core.c.
        behind = any(address == program.text.end for program in self.kernel.programs)
        return in_copy or behind or any(address in text for text in self._texts())

    def _rule(self, address: int) -> Orc:
        """Do as orc_find()."""
        for text in (self.kernel.text, self.kernel.init_text):
            if address in text:
                return text.rule(address)
        for module in self.kernel.modules:
            if address in module.text:
                return module.text.rule(address) if module.text.functions else FRAME
        for start, size, original in self.kernel.ops:
            if start <= address < start + size:
                return original.rule(original.start + address - start)
        return FRAME if address else ENTRY

    def _recover(self, ip: int, slot: int) -> int:
        """Return the original return address of a slot."""
        symbols = self.kernel.symbols
        lists = {
            symbols.get("graph_return"): self.kernel.graphed,
            symbols.get("rethook"): self.kernel.rethooked,
        }
        while ip in lists:  # the kernel undoes one of two replacements, the walk both
            if slot not in lists[ip]:
                raise Unsure("a return address is in no list")
            ip = lists[ip][slot]
        return ip

    def _user_mode(self) -> bool:
        return bool(self.regs and self._register(self.regs, "cs") & 3)

    def step(self) -> bool:
        """Step to the next frame; return False at the end of the stack."""
        if self._user_mode():
            return False
        return self._step_fp() if self.kernel.layout.frame_pointers else self._step_orc()

    def _cfa(self, rule: Orc) -> int:
        if rule.sp == "sp":
            return self.sp + rule.sp_off
        if rule.sp == "bp":
            return self.bp + rule.sp_off
        if rule.sp == "sp_deref":
            return self._load(self.sp) + rule.sp_off
        if rule.sp == "bp_deref":
            return self._load(self.bp + rule.sp_off)
        whole = self.regs if self.whole else self.before
        if not whole:
            raise Unsure("no registers")
        return self._register(whole, rule.sp)

    def _step_orc(self) -> bool:
        rule = self._rule(self.ip if self.signal else self.ip - 1)
        if rule.type in ("end", "undefined"):
            return False
        before = self.sp
        cfa = self._cfa(rule) & _MASK
        self.signal = rule.signal if self.kernel.layout.signal else rule.type != "call"
        if rule.type == "call":
            self.ip = self._recover(self._load(cfa - 8), cfa - 8)
            self.sp, self.regs, self.before, self.whole = cfa, 0, 0, True
        elif rule.type == "regs":
            self.regs, self.before, self.whole = cfa, 0, True
            self.ip, self.sp = self._register(cfa, "ip"), self._register(cfa, "sp")
        else:
            if self.whole:
                self.before = self.regs
            self.regs, self.whole = cfa - _OFFSETS["ip"], False
            self.ip, self.sp = self._register(self.regs, "ip"), self._register(self.regs, "sp")
        if rule.bp == "cfa":
            self.bp = self._load(cfa + rule.bp_off)
        elif rule.bp == "bp":
            self.bp = self._load(self.bp + rule.bp_off)
        else:
            whole = self.regs if self.whole else self.before
            if whole:
                self.bp = self._register(whole, "bp")
        if self.sp <= before < self.sp + STACK_SIZE:
            raise Unsure("the stack pointer does not grow")
        return not self._user_mode()

    def _step_fp(self) -> bool:
        task = self.kernel.memory.word(
            self.kernel.at(self.kernel.task, "struct task_struct", "stack")
        )
        last = task + STACK_SIZE - self.kernel.padding - REGS
        if not self.regs and self.sp == last:
            return False  # is_last_task_frame()
        if not self.bp:
            return False
        if self.bp & 1:
            self.regs = self.bp & ~1
            if self._user_mode():
                return False
            self.ip = self._register(self.regs, "ip")
            self.sp, self.bp = (self._register(self.regs, name) for name in ("sp", "bp"))
            return True
        self.regs = 0
        slot = self.bp + 8
        self.ip = self._recover(self._load(slot), slot)
        self.sp, self.bp = self.bp + 16, self._load(self.bp)
        return True


def stack(unwinder: Unwinder, limit: int = LIMIT) -> list[int]:
    """Return the frames from the current one on, like perf_callchain_kernel().

    :raises Unsure: if the kernel's own unwinder would stop with an error.
    """
    found: list[int] = []
    while len(found) < limit and unwinder.is_text(unwinder.ip):
        found.append(unwinder.ip)
        if not unwinder.step():
            break
    return found


def from_entry(execution: Execution) -> Unwinder:
    """Start at FUNC's first instruction, where SP points to the return address."""
    kernel, sp = execution.kernel, execution.sp
    probe = Unwinder(kernel, 0, sp + 8, execution.fp)
    probe.ip = probe._recover(kernel.memory.word(sp), sp)
    return probe
