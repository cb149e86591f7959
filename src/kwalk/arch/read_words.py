# SPDX-License-Identifier: MIT
"""Code that loads words of a stack: typed loads, or blocks of it by ``bpf_probe_read_kernel()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kwalk.arch.hot_frame import HotKernel, Unsupported
from kwalk.insn import Alu, Assembler, Helper, Jump, Reg

_WINDOW = 16384  # bytes of the type that words are loaded of
_BLOCK = 400  # bytes of the BPF stack for a block
_WORD = _BLOCK + 8  # and for single words
# A call costs some 82 instructions, and 7 for 8 bytes (x86-64, Linux 6.1): words that are nearer to
# each other are copied with the words between them.
_FARTHEST = 96
_PAGE = 4096


class Known(NamedTuple):
    """See ``Words``.

    :ivar window: First and last offset of the block; None if there is none.
    :ivar direct: Offset of the context from the interrupt stack's lowest address, which R6 is as a
        pointer while R7 has the context's address; None if R6 is an address.
    """

    window: tuple[int, int] | None = None
    direct: int | None = None


class Words:
    """Emits loads relative to R6, the base, to R1.

    :ivar known: Knowledge about the place in the program: the block that is on the BPF stack, as
        offsets from R6, and how R6 loads; restored where control comes from an earlier place.
    """

    def __init__(self, kernel: HotKernel, asm: Assembler) -> None:
        self._kernel, self._asm = kernel, asm
        self._typed = bool(kernel.cast)
        self.known = Known()

    def begin_at_context(self, context: Callable[[], None]) -> None:
        """R6 = the context, which R8 points to."""
        if self._typed:
            self._asm.mov(Reg.R1, Reg.R8)
            self.cast(Reg.R6)
        else:
            context()
            self._asm.mov(Reg.R6, Reg.R1)

    def on_interrupt_stack(self, first: int, other: str) -> None:
        """Load words of this CPU's interrupt stack directly, until R6 changes.

        Control goes to ``other`` if that stack begins elsewhere. R6 must be the context.

        :param first: Offset of the stack's first word from the context.
        """
        asm, (top, memory) = self._asm, self._kernel.interrupt_stack
        asm.mov(Reg.R7, Reg.R6)
        asm.load_variable(Reg.R1, top)
        asm.call(Helper.THIS_CPU_PTR)
        asm.load(Reg.R1, Reg.R0, 0)
        asm.alu(Alu.SUB, Reg.R1, Reg.R7)
        asm.jump_if(Jump.NE, Reg.R1, first, other)
        asm.load_variable(Reg.R1, memory)
        asm.call(Helper.THIS_CPU_PTR)
        asm.mov(Reg.R6, Reg.R0)
        self.known = Known(direct=_WINDOW - 8 - first)

    def leave_interrupt_stack(self) -> None:
        """Begin the code at ``other``."""
        self.known = Known()

    @property
    def base(self) -> Reg:
        """The register that has R6's address as a number."""
        return Reg.R6 if self.known.direct is None else Reg.R7

    def cast(self, to: Reg) -> None:
        """Make R1, an address, a base in a register other than R1 to R5."""
        if self._typed:
            self._asm.mov(Reg.R2, self._kernel.window)
            self._asm.call_kfunc(self._kernel.cast)
            if to != Reg.R0:
                self._asm.mov(to, Reg.R0)
        else:
            self._asm.mov(to, Reg.R1)

    def rebase(self) -> None:
        """R6 = R1."""
        self.cast(Reg.R6)
        self.known = Known()

    def rebase_from(self, off: int) -> None:
        """R6 = R1; R3 = R1 less an offset from R6 before."""
        self.cast(Reg.R0)
        self._asm.mov(Reg.R3, Reg.R0)
        self._asm.alu(Alu.SUB, Reg.R3, self.base)
        self._asm.alu(Alu.ADD, Reg.R3, -off)
        self._asm.mov(Reg.R6, Reg.R0)
        self.known = Known()

    def less_task_stack(self) -> None:
        """R1 = R6 less the lowest address of the current task's stack."""
        asm = self._asm
        asm.call(Helper.GET_CURRENT_TASK_BTF)
        asm.load(Reg.R1, Reg.R0, self._kernel.task_stack)
        self.cast(Reg.R0)
        asm.mov(Reg.R1, self.base)
        asm.alu(Alu.SUB, Reg.R1, Reg.R0)

    def load(self, off: int, soon: Callable[[], Sequence[int]] | None = None) -> None:
        """R1 = the word at R6 + off.

        :param soon: Returns the offsets that are likely to be loaded next.
        """
        if self._typed:
            if not 0 <= off <= _WINDOW - 8:
                raise Unsupported("a frame far from the one before")
            self._asm.load(Reg.R1, Reg.R6, off)
            return
        direct, window = self.known.direct, self.known.window
        if direct is not None:
            if not 0 <= off + direct <= _WINDOW - 8:
                raise Unsupported("a frame beyond the interrupt stack")
            self._asm.load(Reg.R1, Reg.R6, off + direct)
            return
        if window is None or not window[0] <= off <= window[1] - 8:
            window = _block(off, soon() if soon else ())
            self._read_block(*window)
            self.known = Known(window)
        self._asm.load(Reg.R1, Reg.R10, off - window[0] - _BLOCK)

    def load_by(self, base: Reg, off: int) -> None:
        """R1 = the word at another base + off."""
        if self._typed:
            self._asm.load(Reg.R1, base, off)
        else:
            self._read(base, off, 8, _WORD)
            self._asm.load(Reg.R1, Reg.R10, -_WORD)

    def _read_block(self, off: int, end: int) -> None:
        """Read a block, or its part on this page: this stack may end where a hotter one goes on."""
        asm, whole = self._asm, self._asm.new_label()
        self._read(Reg.R6, off, end - off, _BLOCK)
        if end - off == 8:
            return
        asm.jump_if(Jump.EQ, Reg.R0, 0, whole)
        asm.mov(Reg.R2, -off)
        asm.alu(Alu.SUB, Reg.R2, Reg.R6)
        asm.alu(Alu.AND, Reg.R2, _PAGE - 1)
        asm.jump_if(Jump.GE, Reg.R2, end - off, whole)
        self._read(Reg.R6, off, Reg.R2, _BLOCK)
        asm.place(whole)

    def _read(self, base: Reg, off: int, size: Reg | int, below: int) -> None:
        asm = self._asm
        asm.mov(Reg.R1, Reg.R10)
        asm.alu(Alu.ADD, Reg.R1, -below)
        if size is not Reg.R2:
            asm.mov(Reg.R2, size)
        asm.mov(Reg.R3, base)
        asm.alu(Alu.ADD, Reg.R3, off)
        asm.call(Helper.PROBE_READ_KERNEL)


def _block(off: int, soon: Sequence[int]) -> tuple[int, int]:
    """Return the ends of the block to copy for a word, with the others that lie near to it."""
    words = sorted({off, *soon})
    first = last = words.index(off)
    while first and words[first] - words[first - 1] <= _FARTHEST:
        first -= 1
    while last + 1 < len(words) and words[last + 1] - words[last] <= _FARTHEST:
        last += 1
    while words[last] + 8 - words[first] > _BLOCK:
        first, last = (first, last - 1) if words[last] > off else (first + 1, last)
    return words[first], words[last] + 8
