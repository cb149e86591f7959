# SPDX-License-Identifier: MIT
"""Simulation of calls, interrupts and stack switches by the processor and the kernel's entry code.

An execution begins at the outermost frame and goes inwards, leaving stacks to be walked.
``addresses`` are the true frames.
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
BODY = 32  # offset from which on a function's frame is complete


def pack_regs(values: dict[str, int]) -> bytes:
    """Return the bytes of a struct pt_regs."""
    return struct.pack("<21Q", *(values.get(name, 0) & _MASK for name in REGISTERS))


@dataclass(frozen=True)
class Body:
    """A function with its use of the stack.

    :ivar kind: ``sp``: frame of a fixed size. ``bp``: frame pointer. ``aligned``: stack realigned
        by gcc. ``bare``: no frame. ``entry``: entry code of interrupts and system calls.
    :ivar saves: It pushes BP and then uses it as a general register (``sp``).
    :ivar above: Number of registers pushed before BP.
    :ivar room: Words of local variables.
    :ivar static: Its frame has the same size at each call (``bp``).
    :ivar by: For a copy, its distance from the original, which has the rules.
    """

    function: Function
    kind: str
    saves: bool = False
    above: int = 0
    room: int = 0
    by: int = 0
    static: bool = False

    @property
    def start(self) -> int:
        return self.function.start + self.by

    @property
    def end(self) -> int:
        return self.function.end + self.by

    def is_complete(self, address: int) -> bool:
        """Return whether the frame is complete at an address."""
        return self.start < address < (self.start + SWITCH if self.kind == "sp" else self.end)

    @property
    def frame(self) -> int:
        """Distance from SP to the CFA during calls, in bytes (``sp``)."""
        return 8 * (1 + self.above + self.saves + self.room)


# Members of user mode's struct pt_regs.
USER = {"cs": USER_CS, "ip": 0x401000, "sp": 0x7FFF0000}

SWITCH = 48  # offset from which on a function is on another stack


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
    static: bool = False,
) -> Body:
    """Add a function to a text, with the rules that objtool would generate."""
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
        # Only the iret frame at first; all registers after more pushes.
        spans = [(0, Orc("partial", "sp", 0, signal=True))]
        spans.append((BODY, Orc("regs", "sp", 8 * room, signal=signal)))
    elif kind == "end":
        spans = [(0, END)]
    elif kind == "unknown":
        spans = [(0, UNDEFINED)]
    function = text.add(spans, size, gap)
    return Body(function, kind, saves, above, room, static=static)


def copies(kernel: Kernel, bodies: list[Body]) -> list[Body]:
    """Add ftrace's trampolines, which are copies of functions and have their rules."""
    made = []
    for body in bodies:
        by = kernel.add_trampoline(body.function) - body.start
        if kernel.layout.frame_pointers:  # then they make a frame, too
            made.append(Body(body.function, "bp", by=by))
        else:
            made.append(Body(body.function, "sp", True, room=body.room, by=by))
    return made


@dataclass
class Execution:
    """A CPU running kernel code.

    :ivar addresses: Return or interrupted address of each frame so far, the outermost first.
    :ivar slots: Stack slot of each return address; 0 for an interrupted frame.
    :ivar saved: Address of each struct pt_regs.
    :ivar jumps: A function may jump to a BPF trampoline instead of calling it.
    """

    kernel: Kernel
    random: Random
    task: int
    sp: int = 0
    fp: int = 0
    addresses: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    current: Body | None = None
    switched: bool = False
    jumps = True

    def __post_init__(self) -> None:
        stack = self.kernel.memory.word(self.kernel.at(self.task, "struct task_struct", "stack"))
        self._top = stack + self.kernel.stack_size - self.kernel.padding
        self._stale = [0, 1, 0xFFFF888100000040, TASK_STACK + 64]
        self._stale += [f.start + f.size // 2 for f in self.kernel.text.functions]

    def _word(self) -> int:
        """Return a stale word, as left on a stack by earlier calls."""
        return self.random.choice(self._stale)

    def push(self, word: int) -> int:
        """Push a word; return its address."""
        self.sp -= 8
        self.kernel.memory.put_word(self.sp, word)
        return self.sp

    def _room(self, words: int) -> None:
        for _ in range(words):
            self.push(self._word())

    # The outermost frame

    def from_user(self, entry: Body, cs: int = USER_CS) -> None:
        """Begin with a system call, exception or interrupt from user space."""
        self.sp = self._top - REGS
        regs = dict.fromkeys(REGISTERS, 0x7F0000001230) | {"cs": cs}
        self.kernel.memory.put(self.sp, pack_regs(regs))
        self.saved.append(self.sp)
        self.fp = 0x7F0000004560
        self._room(entry.room)
        self.current = entry

    def from_thread(self, start: Body) -> None:
        """Begin with a kernel thread."""
        self.from_user(start, KERNEL_CS)
        self.sp = self._top - REGS
        self.fp = 0

    # Inner frames

    def _return_address(self) -> int:
        """Return an address after a call in the current function, where its frame is complete."""
        body = self.current
        assert body
        if self.switched:
            return body.start + self.random.randint(SWITCH + 5, body.function.size)
        last = SWITCH if body.kind == "sp" else body.function.size
        if body.by and last == body.function.size:
            last -= 1  # the address after a call at a copy's very end is outside of the copy
        return body.start + self.random.randint(BODY + 5, last)

    def call(self, body: Body, prologue: bool = True) -> int:
        """Call another function; return the slot of the return address."""
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
                self.push(self.fp)
                self.fp = self._word()
            self._room(body.room)
        elif body.kind == "bp":
            self.push(self.fp)
            self.fp = self.sp
            self._room(body.room + (0 if body.static else self.random.randint(0, 3)))
        elif body.kind == "aligned":
            r10 = self.sp + 8
            self.sp &= -32
            self.push(self.kernel.memory.word(r10 - 8))
            self.push(self.fp)
            self.fp = self.sp
            self.push(r10)
            self._room(body.room)

    def switch_stack(self) -> None:
        """Switch to the interrupt stack, as call_on_stack() does."""
        before = self.sp
        self.sp = IRQ_STACK + STACK_SIZE
        self.push(before)
        self.switched = True

    def _interrupted(self, at: int) -> dict[str, int]:
        regs = {name: self._word() for name in REGISTERS}
        regs |= {"ip": at, "sp": self.sp, "bp": self.fp, "cs": KERNEL_CS}
        self.addresses.append(at)
        self.slots.append(0)
        return regs

    def interrupt(self, entry: Body, at: int = 0, nmi: bool = False, **registers: int) -> int:
        """Save registers on the NMI stack or on this one; return their address.

        :param at: Interrupted instruction; 0 for any one after a call.
        :param registers: Values of other registers.
        """
        body = self.current
        assert body
        regs = self._interrupted(at or self._return_address() - 1) | registers
        if nmi:
            self.sp = NMI_STACK + STACK_SIZE
        self.sp = (self.sp & -16) - REGS
        self.kernel.memory.put(self.sp, pack_regs(regs))
        place = self.sp
        self.saved.append(place)
        if self.kernel.layout.frame_pointers:
            self.fp = self.sp | 1  # ENCODE_FRAME_POINTER
        self._room(entry.room)
        self.current, self.switched = entry, False
        return place

    def interrupt_begins(self, entry: Body, at: int = 0) -> None:
        """Save only the iret frame, as the processor does: ip, cs, flags, sp, ss."""
        regs = self._interrupted(at or self._return_address() - 1)
        self.sp = (self.sp & -16) - 40
        self.kernel.memory.put(self.sp, pack_regs(regs)[128:])
        self.current = entry

    # Replaced return addresses, by the slots that call() returns

    def replace(self, slot: int, address: int) -> None:
        """Overwrite a return address."""
        self.kernel.memory.put_word(slot, address)

    def rethook(self, slot: int) -> None:
        """Replace a return address, as a kretprobe does."""
        self.kernel.rethook(slot, self.kernel.memory.word(slot))
        self.replace(slot, self.kernel.symbols["rethook"])

    def graph(self, slot: int, extra: int = 0) -> None:
        """Replace a return address, as the function-graph tracer does.

        :param extra: Words of data that a tracer keeps with the entry, since 6.11.
        """
        self.kernel.graph(slot, self.kernel.memory.word(slot), extra)
        self.replace(slot, self.kernel.symbols["graph_return"])

    # At the probe

    @property
    def callers(self) -> list[int]:
        """Return the frames from FUNC's caller outwards."""
        return self.addresses[::-1]

    def regs(self, ip: int) -> bytes:
        """Return the registers that a probe gets."""
        values = {name: self._word() for name in REGISTERS}
        return pack_regs(values | {"ip": ip, "sp": self.sp, "bp": self.fp, "cs": KERNEL_CS})

    def returned(self, ip: int = 0) -> bytes:
        """Return the registers after FUNC's return, with which its caller goes on."""
        regs = {"ip": ip or self.callers[0], "sp": self.sp + 8, "bp": self.fp}
        return pack_regs(regs | {"cs": KERNEL_CS, "ax": 5})

    def program(self) -> tuple[int, int]:
        """Enter a tracepoint's program.

        :return: Its frame pointer, R10, and the bytes from there to its frame record.
        """
        return self.push(self.fp), 0

    def trampoline(self, func: int, arguments: int, shift: int = 0) -> int:
        """Call a BPF trampoline from FUNC; return the address of the program's context.

        :param shift: 1 if the trampoline also saves a return value.
        """
        self.push(func + 9)
        self.push(self.fp)
        for _ in range(shift):
            self.push(self._word())
        self._room(arguments)
        context = self.sp
        self.sp -= 64
        return context

    def jumped(self, arguments: int) -> int:
        """Jump from FUNC to a trampoline that saves a value; return the program's context."""
        self.push(self.fp)
        self._room(1 + arguments)
        context = self.sp
        self.sp -= 64
        return context
