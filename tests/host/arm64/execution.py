# SPDX-License-Identifier: MIT
"""Simulation of calls, exceptions and stack switches by functions and the kernel's entry code.

An execution begins at the outermost frame and goes inwards, leaving frame records to be walked.
``addresses`` are the true frames.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random

from functions import Function, Text
from kernel import Kernel
from objects import IRQ_STACK, STACK_SIZE, TASK_STACK

EL0, EL1 = 0, 5  # pstate: PSR_MODE_EL0t, PSR_MODE_EL1h
FINAL, PT_REGS = 1, 2  # frame_record_meta.type
FP, LR = 29, 30
_MASK = (1 << 64) - 1
BODY = 32  # offset from which on a function's frame is complete
# Instructions behind FUNC's address to which a trampoline returns; "bti c" may come before.
ENTRY_CALLS = (8, 12)
USER = {"pstate": EL0, "pc": 0x401000, "sp": 0x7FFF0000}


@dataclass(frozen=True)
class Body:
    """A function with its use of the stack.

    :ivar above: Pairs of registers saved above the frame record.
    :ivar room: Pairs of words of local variables and arguments below it.
    :ivar static: There is never more of either.
    """

    function: Function
    kind: str
    above: int = 0
    room: int = 0
    saves: bool = False
    static: bool = False

    @property
    def start(self) -> int:
        return self.function.start

    @property
    def end(self) -> int:
        return self.function.end

    def is_complete(self, address: int) -> bool:
        """Return whether the frame is complete at an address."""
        return self.start < address < self.end


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
    """Add a function to a text.

    The other parameters are for unwind tables, which arm64 does not have.
    """
    added = text.add([], -(-size // 4) * 4, -(-gap // 4) * 4)
    return Body(added, kind, above, room, static=static)


def copies(kernel: Kernel, bodies: list[Body]) -> list[Body]:
    """Return no trampolines of ftrace: arm64 has no copies, its one trampoline is in the image."""
    return []


@dataclass
class Execution:
    """A CPU running kernel code.

    :ivar addresses: Return or interrupted address of each frame so far, the outermost first.
    :ivar slots: Address of each return address in a frame record; 0 for an interrupted frame, and
        while it is in LR.
    :ivar saved: Address of each struct pt_regs.
    :ivar jumps: A function may jump to a BPF trampoline instead of calling it.
    """

    kernel: Kernel
    random: Random
    task: int
    sp: int = 0
    fp: int = 0
    lr: int = 0
    addresses: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    current: Body | None = None
    jumps = False

    def __post_init__(self) -> None:
        stack = self.kernel.memory.word(self.kernel.at(self.task, "struct task_struct", "stack"))
        self._top = stack + self.kernel.stack_size
        self._stale = [0, 1, 0xFFFF000100000040, TASK_STACK + 64]
        self._stale += [f.start + f.size // 8 * 4 for f in self.kernel.text.functions]

    def word(self) -> int:
        """Return a stale word, as left on a stack by earlier calls."""
        return self.random.choice(self._stale)

    def push(self, *words: int) -> int:
        """Push words, the last one on top; return its address."""
        for word in words:
            self.sp -= 8
            self.kernel.memory.put_word(self.sp, word)
        return self.sp

    def _room(self, words: int) -> None:
        for _ in range(words):
            self.push(self.word())

    def signed(self, address: int) -> int:
        """Return a return address as a function saves it: with a signature in its upper bits."""
        mask = self.kernel.code_mask
        return address & ~mask & _MASK | self.random.getrandbits(64) & mask

    def record(self, lr: int) -> int:
        """Push a frame record and make FP its address."""
        self.fp = self.push(lr, self.fp)
        return self.fp

    # The outermost frame

    def from_user(self, entry: Body, pstate: int = EL0) -> None:
        """Begin with a system call, exception or interrupt from user space."""
        self.fp = 0x7F0000004560
        self._save({"pc": 0x7F0000001230, "sp": 0x7F0000008880, "pstate": pstate}, FINAL)
        self.current = entry

    def from_thread(self, start: Body) -> None:
        """Begin with a kernel thread."""
        self.from_user(start, EL1)

    def _save(self, values: dict[str, int], kind: int) -> int:
        """Push a struct pt_regs with its frame record, as kernel_entry does."""
        size = self.kernel.types.size("struct pt_regs")
        if kind == FINAL:
            self.sp = self._top
        self.sp = (self.sp & -16) - size
        place = self.sp
        self.kernel.memory.put(place, pack_regs(size, self.word, values | {"regs29": self.fp}))
        frame = self.kernel.at(place, "struct pt_regs", "stackframe")
        words = [self.fp, values["pc"]]
        if "frame_record_meta" in self.kernel.layout.types:
            words = [0, 0, kind]
        elif kind == FINAL:
            words = [0, 0]
        self.kernel.memory.put(frame, struct.pack(f"<{len(words)}Q", *words))
        self.saved.append(place)
        self.fp = frame
        return place

    # Inner frames

    def _return_address(self) -> int:
        """Return an address after a call in the current function, where its frame is complete."""
        body = self.current
        assert body
        return body.start + 4 * self.random.randint(BODY // 4, (body.function.size - 1) // 4)

    def call(self, body: Body, prologue: bool = True) -> int:
        """Call another function; return the slot of the return address."""
        self.lr = self._return_address()
        self.addresses.append(self.lr)
        self.slots.append(0)
        self.current = body
        if prologue:
            self.enter(body)
        return self.slots[-1]

    def enter(self, body: Body) -> None:
        """Run a function's prologue."""
        self._room(2 * (body.above + (0 if body.static else self.random.randint(0, 1))))
        self.slots[-1] = self.record(self.signed(self.lr)) + 8
        self._room(2 * (body.room + (0 if body.static else self.random.randint(0, 2))))

    def switch_stack(self) -> None:
        """Switch to the interrupt stack, as call_on_irq_stack() does."""
        self.sp = IRQ_STACK + STACK_SIZE

    def interrupt(self, entry: Body, at: int = 0, nmi: bool = False, **registers: int) -> int:
        """Save registers on this stack; return their address.

        :param at: Interrupted instruction; 0 for any one after a call.
        :param nmi: Whatever interrupts: Debian's kernels have no NMIs.
        """
        address = at or self._return_address()
        self.addresses.append(address)
        self.slots.append(0)
        place = self._save({"pc": address, "sp": self.sp, "pstate": EL1} | registers, PT_REGS)
        self.current = entry
        return place

    # Replaced return addresses, by the slots that call() returns. Tracers do it at a function's
    # entry, hence what they put in LR is signed and saved.

    def replace(self, slot: int, address: int) -> None:
        """Overwrite a return address."""
        if slot:
            self.kernel.memory.put_word(slot, self.signed(address))
        else:
            self.lr = address

    def _replaced(self, slot: int) -> tuple[int, int]:
        """Return the FP of a slot's function's caller, and the address that is there."""
        if not slot:
            return self.fp, self.lr
        word = self.kernel.memory.word
        return word(slot - 8), word(slot) | self.kernel.code_mask

    def rethook(self, slot: int) -> None:
        """Replace a return address, as a kretprobe does."""
        self.kernel.rethook(*self._replaced(slot))
        self.replace(slot, self.kernel.symbols["rethook"])

    def graph(self, slot: int, extra: int = 0) -> None:
        """Replace a return address, as the function-graph tracer does.

        :param extra: Words of data that a tracer keeps with the entry, since 6.11.
        """
        self.kernel.graph(*self._replaced(slot), extra)
        self.replace(slot, self.kernel.symbols["graph_return"])

    # At the probe

    @property
    def callers(self) -> list[int]:
        """Return the frames from FUNC's caller outwards."""
        return self.addresses[::-1]

    def regs(self, ip: int) -> bytes:
        """Return the registers that a probe gets."""
        values = {"pc": ip, "sp": self.sp, "pstate": EL1, "regs29": self.fp, "regs30": self.lr}
        return pack_regs(self.kernel.types.size("struct pt_regs"), self.word, values)

    def returned(self, ip: int = 0) -> bytes:
        """Return the registers after FUNC's return, with which its caller goes on."""
        return self.regs(ip or self.callers[0])

    def program(self) -> tuple[int, int]:
        """Enter a tracepoint's program.

        :return: Its frame pointer, R10, and the bytes from there to its frame record.
        """
        self.record(self.signed(self.lr))
        pairs = self.random.randint(1, 5)
        self._room(2 * pairs)
        return self.sp, 16 * pairs

    def trampoline(self, func: int, arguments: int, shift: int = 0) -> int:
        """Call a BPF trampoline from FUNC; return the address of the program's context.

        prepare_trampoline() in arch/arm64/net/bpf_jit_comp.c.

        :param shift: 1 if the trampoline also saves a return value.
        """
        same = Random(func)  # the trampoline stays
        # FUNC's FP is the caller's still.
        frame = self.push(self.lr, self.fp)
        self.push(func + same.choice(ENTRY_CALLS), frame)
        self._room(same.randint(0, 1))  # by the size of the part below, SP stays aligned
        self.push(self.word(), self.word())  # x20, x19
        self._room(shift + arguments)
        context = self.sp
        self.push(arguments, self.word())
        self.sp = (self.sp & -16) - 64
        return context

    def jumped(self, arguments: int) -> int:
        """Fail: FUNC always calls the trampoline (``kw_jumped_caller()``)."""
        raise AssertionError("arm64 has no such trampolines")


def pack_regs(size: int, word: object, values: dict[str, int]) -> bytes:
    """Return the bytes of a struct pt_regs.

    :param word: Called for the value of each other register.
    """
    names = [*(f"regs{number}" for number in range(31)), "sp", "pc", "pstate"]
    assert callable(word)
    words = [values.get(name, word()) & _MASK for name in names]
    return struct.pack(f"<{len(words)}Q", *words).ljust(size, b"\0")
