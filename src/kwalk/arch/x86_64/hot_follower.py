# SPDX-License-Identifier: MIT
"""Generated code that is common to both kinds of unwinding: starts, comparisons, the end.

R6 is a base: an address that words are loaded relative to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import ENTRY_BYTES
from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget
from kwalk.arch.x86_64.read_words import Words
from kwalk.insn import Alu, Jump, Reg

NEAR = 16384  # KW_NEAR
# Offsets in struct pt_regs, and its size.
REGS_BP, REGS_IP, REGS_CS, REGS_SP, REGS_BYTES = 32, 128, 136, 152, 168


class Saved(NamedTuple):
    """Where the frame pointer is: in memory at a base + offset, or in the context."""

    base: Reg
    off: int


class State(NamedTuple):
    """Knowledge about a place in the program.

    :ivar sp: Stack pointer of the current frame, relative to R6.
    :ivar bp: Where its frame pointer is saved.
    """

    sp: int
    bp: Saved


class Follower(ABC):
    """Code common to both kinds of unwinding."""

    def __init__(self, kernel: HotKernel, target: HotTarget) -> None:
        self.kernel, self.target, self.asm = kernel, target, target.asm
        self.words = Words(kernel, target.asm)

    def begin(self, root: HotFrame, start: HotStart) -> None:
        """Emit all code, from the probe on."""
        asm, words = self.asm, self.words
        if not start.fentry:
            asm.load(Reg.R1, Reg.R8, REGS_SP)
            words.rebase()
            self.compare(root.callers, State(8, Saved(Reg.R8, REGS_BP)))
            return
        words.begin_at_context(self.target.context)
        saved = 8 * (start.arguments + start.shift)
        state = State(saved + (24 if start.returns else 16), Saved(Reg.R6, saved))
        first, callers = self.on_interrupt_stack(root.callers, state)
        if callers:
            other = asm.new_label()
            words.on_interrupt_stack(first, other)
            self._from_trampoline(callers, start, state)
            asm.place(other)
            words.leave_interrupt_stack()
        self._from_trampoline(root.callers, start, state)

    def _from_trampoline(self, callers: Sequence[HotFrame], start: HotStart, state: State) -> None:
        """Check the address in FUNC, or that there is none, and go on with its callers."""
        asm, miss = self.asm, self.target.miss
        if start.returns:
            self.words.load(state.sp - 16, lambda: self.slots(callers, state))
            asm.jump_unless(Reg.R1, start.returns, miss, Reg.R2)
        else:  # not where FUNC calls the trampoline: kw_start_fentry()
            self.words.load(8 * start.arguments + 8, lambda: self.slots(callers, state))
            asm.alu(Alu.ADD, Reg.R1, (1 << 64) - start.func - 1)
            asm.jump_if(Jump.LT, Reg.R1, ENTRY_BYTES + 1, miss)
        self.compare(callers, state)

    def on_interrupt_stack(
        self, callers: Sequence[HotFrame], state: State
    ) -> tuple[int, list[HotFrame]]:
        """Return where the interrupt stack begins, from the context, and the stacks on it.

        Only where direct loads of that stack save something; otherwise there are none.
        """
        return 0, []

    def compare(self, callers: Sequence[HotFrame], state: State) -> None:
        """Compare the word below SP with each caller, and go on with the one that it is."""
        self.words.load(state.sp - 8, lambda: self.slots(callers, state))
        self.choose(callers, state)

    def choose(self, callers: Sequence[HotFrame], state: State) -> None:
        """R1 has an address: go on with the caller that it is."""
        for caller in callers:
            following = self.asm.new_label()
            self.asm.jump_unless(Reg.R1, caller.ip, following, Reg.R2)
            known = self.words.known
            self.go_on(caller, state)
            self.words.known = known
            self.asm.place(following)
        self.asm.jump(self.target.miss)

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
