# SPDX-License-Identifier: MIT
"""Calls, interrupts and switches of stacks, as the processor and the kernel's entry code do them.

An execution begins at the outermost frame and goes inwards; what it leaves on the stacks is what a
walk finds. ``addresses`` are the frames that were really there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random

from functions import Function, Text
from kernel import Kernel
from objects import IRQ_STACK, NMI_STACK, STACK_SIZE, TASK_STACK

from x86.rules import END, ENTRY, FRAME, PUSHED, UNDEFINED, Orc

REGS = 168
KERNEL_CS, USER_CS = 0x10, 0x33
# struct pt_regs, in words
REGISTERS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8"),
    *("ax", "cx", "dx", "si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
_MASK = (1 << 64) - 1
BODY = 32  # bytes of a function from which on its frame is complete


def pack_regs(values: dict[str, int]) -> bytes:
    """struct pt_regs."""
    return struct.pack("<21Q", *(values.get(name, 0) & _MASK for name in REGISTERS))


@dataclass(frozen=True)
class Body:
    """A function and what it does to the stack.

    :ivar kind: ``sp``: its frame is of a fixed size. ``bp``: it has a frame pointer. ``aligned``:
        gcc aligned its stack. ``bare``: it has no frame at all. ``entry``: code that interrupts
        and system calls come in by.
    :ivar saves: BP is pushed, and then used for something else (``sp``).
    :ivar above: Other registers that are pushed before it.
    :ivar room: Words for local variables.
    :ivar by: How far the function is from where its rules are: a copy.
    """

    function: Function
    kind: str
    saves: bool = False
    above: int = 0
    room: int = 0
    by: int = 0

    @property
    def start(self) -> int:
        return self.function.start + self.by

    @property
    def end(self) -> int:
        return self.function.end + self.by

    @property
    def frame(self) -> int:
        """Bytes from SP to the CFA, while it calls others (``sp``)."""
        return 8 * (1 + self.above + self.saves + self.room)


SWITCH = 48  # bytes of a function from which on it is on another stack


def make(
    text: Text,
    kind: str,
    *,
    saves: bool = False,
    above: int = 0,
    room: int = 0,
    size: int = 96,
    gap: int = 0,
    signal: bool = False,
) -> Body:
    """Add a function to a text, with the rules that objtool would make for it."""
    spans: list[tuple[int, Orc]] = [(0, ENTRY)]
    if kind == "sp":
        at = ("cfa", -8 * (above + 2)) if saves else ("undefined", 0)
        for pushed in range(above):
            spans.append((pushed + 1, Orc("call", "sp", 8 * (pushed + 2))))
        if saves:
            spans.append((above + 1, Orc("call", "sp", 8 * (above + 2), *at)))
        whole = 8 * (1 + above + saves + room)
        spans.append((BODY, Orc("call", "sp", whole, *at)))
        spans.append((SWITCH, Orc("call", "sp_deref", whole, *at)))
    elif kind == "bp":
        spans += [(1, PUSHED), (4, FRAME)]
    elif kind == "aligned":
        spans += [(5, Orc("call", "r10", 0)), (BODY, Orc("call", "bp_deref", -8, "bp", 0))]
    elif kind == "entry":
        # The iret frame alone, then, more pushes later, all registers.
        spans = [(0, Orc("partial", "sp", 0, signal=True))]
        spans.append((BODY, Orc("regs", "sp", 8 * room, signal=signal)))
    elif kind == "end":
        spans = [(0, END)]
    elif kind == "unknown":
        spans = [(0, UNDEFINED)]
    function = text.add(spans, size, gap)
    return Body(function, kind, saves, above, room)


@dataclass
class Execution:
    """A CPU that runs kernel code.

    :ivar addresses: Of the frames so far, the outermost first: where each goes on, or was
        interrupted.
    :ivar slots: Where on the stack each return address stands; 0 of an interrupted frame.
    """

    kernel: Kernel
    random: Random
    task: int
    sp: int = 0
    bp: int = 0
    addresses: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    current: Body | None = None
    switched: bool = False

    def __post_init__(self) -> None:
        stack = self.kernel.memory.word(self.kernel.at(self.task, "struct task_struct", "stack"))
        self._top = stack + self.kernel.stack_size - self.kernel.padding
        self._stale = [0, 1, 0xFFFF888100000040, TASK_STACK + 64]
        self._stale += [f.start + f.size // 2 for f in self.kernel.text.functions]

    def _word(self) -> int:
        """What is left on a stack from earlier."""
        return self.random.choice(self._stale)

    def push(self, word: int) -> int:
        """Push a word; return where it is."""
        self.sp -= 8
        self.kernel.memory.put_word(self.sp, word)
        return self.sp

    def _room(self, words: int) -> None:
        for _ in range(words):
            self.push(self._word())

    # The outermost frame

    def from_user(self, entry: Body, cs: int = USER_CS) -> None:
        """A system call, an exception or an interrupt, from user space."""
        self.sp = self._top - REGS
        regs = dict.fromkeys(REGISTERS, 0x7F0000001230) | {"cs": cs}
        self.kernel.memory.put(self.sp, pack_regs(regs))
        self.bp = 0x7F0000004560
        self._room(entry.room)
        self.current = entry

    def from_thread(self, start: Body) -> None:
        """A kernel thread."""
        self.from_user(start, KERNEL_CS)
        self.sp = self._top - REGS
        self.bp = 0

    # Further in

    def _return_address(self) -> int:
        """Behind a call, in a part of the current function where its frame is complete."""
        body = self.current
        assert body
        if self.switched:
            return body.start + self.random.randint(SWITCH + 5, body.function.size)
        last = SWITCH if body.kind == "sp" else body.function.size
        if body.by and last == body.function.size:
            last -= 1  # what follows a call that is a copy's last byte is not the copy's
        return body.start + self.random.randint(BODY + 5, last)

    def call(self, body: Body, prologue: bool = True) -> int:
        """The current function calls another; return the slot of the return address."""
        address = self._return_address()
        slot = self.push(address)
        self.addresses.append(address)
        self.slots.append(slot)
        self.current, self.switched = body, False
        if prologue:
            self._enter(body)
        return slot

    def _enter(self, body: Body) -> None:
        if body.kind == "sp":
            self._room(body.above)
            if body.saves:
                self.push(self.bp)
                self.bp = self._word()
            self._room(body.room)
        elif body.kind == "bp":
            self.push(self.bp)
            self.bp = self.sp
            self._room(body.room + self.random.randint(0, 3))
        elif body.kind == "aligned":
            r10 = self.sp + 8
            self.sp &= -32
            self.push(self.kernel.memory.word(r10 - 8))
            self.push(self.bp)
            self.bp = self.sp
            self.push(r10)
            self._room(body.room)

    def switch_stack(self) -> None:
        """The current function goes on on the stack of interrupts: call_on_stack()."""
        before = self.sp
        self.sp = IRQ_STACK + STACK_SIZE
        self.push(before)
        self.switched = True

    def _interrupted(self, at: int) -> dict[str, int]:
        regs = {name: self._word() for name in REGISTERS}
        regs |= {"ip": at, "sp": self.sp, "bp": self.bp, "cs": KERNEL_CS}
        self.addresses.append(at)
        self.slots.append(0)
        return regs

    def interrupt(self, entry: Body, at: int = 0, nmi: bool = False, **registers: int) -> int:
        """Registers are saved, on the stack of NMIs or on this one; return where.

        :param at: The instruction that was to run next; 0: any of those that call.
        :param registers: What is in others.
        """
        body = self.current
        assert body
        regs = self._interrupted(at or self._return_address() - 1) | registers
        if nmi:
            self.sp = NMI_STACK + STACK_SIZE
        self.sp = (self.sp & -16) - REGS
        self.kernel.memory.put(self.sp, pack_regs(regs))
        place = self.sp
        if self.kernel.layout.frame_pointers:
            self.bp = self.sp | 1  # ENCODE_FRAME_POINTER
        self._room(entry.room)
        self.current, self.switched = entry, False
        return place

    def interrupt_begins(self, entry: Body, at: int = 0) -> None:
        """Only what the processor itself saves has been saved: ip, cs, flags, sp, ss."""
        regs = self._interrupted(at or self._return_address() - 1)
        self.sp = (self.sp & -16) - 40
        self.kernel.memory.put(self.sp, pack_regs(regs)[128:])
        self.current = entry

    # At the probe

    @property
    def callers(self) -> list[int]:
        """The frames, from FUNC's caller outwards."""
        return self.addresses[::-1]

    def regs(self, ip: int) -> bytes:
        """The registers that a probe is given."""
        values = {name: self._word() for name in REGISTERS}
        return pack_regs(values | {"ip": ip, "sp": self.sp, "bp": self.bp, "cs": KERNEL_CS})

    def trampoline(self, func: int, arguments: int, shift: int = 0) -> int:
        """FUNC has called a trampoline of BPF's; return where the program's context is.

        :param shift: 1 where the trampoline keeps a return value as well.
        """
        self.push(func + 9)
        self.push(self.bp)
        for _ in range(shift):
            self.push(self._word())
        self._room(arguments)
        context = self.sp
        self.sp -= 64
        return context

    def jumped(self, arguments: int) -> int:
        """FUNC has jumped to a trampoline, which keeps a value; return the program's context."""
        self.push(self.bp)
        self._room(1 + arguments)
        context = self.sp
        self.sp -= 64
        return context
