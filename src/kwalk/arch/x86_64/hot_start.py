# SPDX-License-Identifier: MIT
"""Generated code on x86-64 from the probe to FUNC's direct caller."""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.abi import ENTRY_BYTES
from kwalk.arch.hot_follower import Follower, Saved, State
from kwalk.arch.hot_frame import HotFrame, HotStart
from kwalk.insn import Alu, Jump, Reg

# Offsets in struct pt_regs, and its size.
REGS_BP, REGS_IP, REGS_CS, REGS_SP, REGS_BYTES = 32, 128, 136, 152, 168


class Begins(Follower):
    """Starts of both kinds of unwinding."""

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
