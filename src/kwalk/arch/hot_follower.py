# SPDX-License-Identifier: MIT
"""Generated code that is common to all kinds of unwinding: comparisons, the end.

R6 is a base: an address that words are loaded relative to. R7 is free between frames, R8 is the
context, R9 a base beside R6.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kwalk.arch.hot_frame import HotFrame, HotKernel, HotTarget
from kwalk.arch.read_words import Words
from kwalk.insn import Alu, Reg

NEAR = 16384  # KW_NEAR
_WORD_BITS = 64
_WORD_MASK = (1 << _WORD_BITS) - 1


class Saved(NamedTuple):
    """Where the frame pointer is: in memory at a base + offset, or in the context."""

    base: Reg
    off: int


class State(NamedTuple):
    """Knowledge about a place in the program.

    :ivar sp: Stack pointer of the current frame, relative to R6.
    :ivar bp: Where its frame pointer is saved.
    :ivar exact: ``sp`` is at a constant distance from the frame's own stack pointer.
    """

    sp: int
    bp: Saved
    exact: bool = True


class Follower(ABC):
    """Code common to all kinds of unwinding."""

    def __init__(self, kernel: HotKernel, target: HotTarget) -> None:
        self.kernel, self.target, self.asm = kernel, target, target.asm
        self.words = Words(kernel, target.asm)
        self.later: list[Callable[[], None]] = []
        # A signature stands in the upper bits of return addresses: it is shifted out.
        self._signature_bits = _WORD_BITS - (~kernel.code_mask & _WORD_MASK).bit_length()

    def compare(self, callers: Sequence[HotFrame], state: State) -> None:
        """Compare the word below SP with each caller, and go on with the one that it is."""
        self.words.load(state.sp - 8, lambda: self.slots(callers, state))
        self.choose(callers, state)

    def choose(self, callers: Sequence[HotFrame], state: State) -> None:
        """R1 has a return address: go on with the caller that it is."""
        self.unsign()
        for caller in callers:
            following = self.asm.new_label()
            self.asm.jump_unless(Reg.R1, self.unsigned(caller.ip), following, Reg.R2)
            known = self.words.known
            self.go_on(caller, state)
            self.words.known = known
            self.asm.place(following)
        self.asm.jump(self.target.miss)

    def finish(self) -> None:
        """Emit code that is rarely run, behind all else."""
        for emit in self.later:
            emit()

    def unsign(self) -> None:
        """R1, a return address, becomes what ``unsigned`` returns for it."""
        if self._signature_bits:
            self.asm.alu(Alu.LSH, Reg.R1, self._signature_bits)

    def unsigned(self, address: int) -> int:
        """Return the bits of an address of code in which no signature can stand."""
        return address << self._signature_bits & _WORD_MASK

    @abstractmethod
    def go_on(self, frame: HotFrame, state: State) -> None:
        """Emit the way from a frame, whose address was compared, outwards."""

    @abstractmethod
    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        """Return where the next words are, relative to R6, if the stack is the hottest one."""

    def accept(self, frame: HotFrame) -> None:
        """The stack ends at a frame."""
        assert frame.leaf is not None
        self.target.accept(frame.leaf)

    def load_bp(self, state: State) -> None:
        """R1 = the frame pointer."""
        if state.bp.base == Reg.R6:
            self.words.load(state.bp.off)
        elif state.bp.base == Reg.R8:
            self.asm.load(Reg.R1, Reg.R8, state.bp.off)
        else:
            self.words.load_by(Reg.R9, state.bp.off)

    def keep(self, bp: Saved, needed: bool) -> Saved:
        """Keep a saved frame pointer's place in R9, before R6 becomes another base."""
        if not needed or bp.base != Reg.R6:
            return bp
        self.asm.mov(Reg.R9, self.words.base)
        self.asm.alu(Alu.ADD, Reg.R9, bp.off)
        return Saved(Reg.R9, 0)
