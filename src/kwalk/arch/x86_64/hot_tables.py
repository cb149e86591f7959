# SPDX-License-Identifier: MIT
"""Generated code that follows stacks by ORC."""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.arch.hot_follower import NEAR, Saved, State
from kwalk.arch.hot_frame import HotFrame, Unsupported
from kwalk.arch.x86_64.hot_start import REGS_BP, REGS_CS, REGS_IP, REGS_SP, Begins
from kwalk.arch.x86_64.rule import Below, Cfa, Rule, SavedBp, decode
from kwalk.insn import Alu, Jump, Reg

# Bytes below a new base's frame that may be loaded, too: saved registers lie there.
_BELOW = 512


class TablesFollower(Begins):
    """By ORC: ``kw_step_any()`` of bpf/arch/x86/step.bpf.h."""

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        """See ``Follower.slots``."""
        at, sp = [state.sp - 8], state.sp
        if state.bp.base == Reg.R6 and self._needs_bp(callers[:1]):
            at.append(state.bp.off)
        while callers:
            rule = decode(callers[0].rule)
            if rule.cfa == Cfa.SP_DEREF:
                at.append(sp)
            if rule.cfa != Cfa.SP:
                break
            sp += rule.cfa_off
            if rule.frame != Below.CALL:
                at.append(sp + REGS_CS)
                break
            at.append(sp - 8)
            callers = callers[0].callers
            if rule.bp == SavedBp.CFA and self._needs_bp(callers[:1]):
                at.append(sp + rule.bp_off)
        return at

    def go_on(self, frame: HotFrame, state: State) -> None:
        """See ``Follower.go_on``."""
        rule = decode(frame.rule)
        if rule.cfa == Cfa.END:
            self.accept(frame)
        elif rule.frame == Below.REGS:
            self._registers(frame, rule, state)
        elif rule.frame != Below.CALL:
            raise Unsupported("partial registers")
        elif not frame.callers:
            raise Unsupported("the end is not told by the tables")
        else:
            self._called(frame, rule, state)

    def on_interrupt_stack(
        self, callers: Sequence[HotFrame], state: State
    ) -> tuple[int, list[HotFrame]]:
        """See ``Follower.on_interrupt_stack``."""
        if self.kernel.cast or len(set(self.kernel.interrupt_stack)) != 2:
            return 0, []
        # The first word is the way back to the other stack (ASM_CALL_ARG0 in
        # arch/x86/include/asm/irq_stack.h).
        sp, hottest = state.sp, callers
        while hottest and decode(hottest[0].rule).cfa == Cfa.SP:
            sp += decode(hottest[0].rule).cfa_off
            hottest = hottest[0].callers
        if not hottest or decode(hottest[0].rule).cfa != Cfa.SP_DEREF:
            return 0, []
        return sp, _leaving(callers, state.sp, sp)

    def _needs_bp(self, frames: Sequence[HotFrame]) -> bool:
        """Whether the frame pointer of the first of these frames is needed."""
        for frame in frames:
            rule = decode(frame.rule)
            if rule.cfa in (Cfa.BP, Cfa.BP_DEREF) or rule.bp == SavedBp.BP:
                return True
            if rule.bp == SavedBp.SAME and self._needs_bp(frame.callers):
                return True
        return False

    def _called(self, frame: HotFrame, rule: Rule, state: State) -> None:
        """Step to the caller of a frame."""
        saved, later = state.bp, self._needs_bp(frame.callers)
        if rule.bp == SavedBp.BP and rule.cfa != Cfa.BP_DEREF:
            raise Unsupported("a frame pointer below another")
        if rule.cfa == Cfa.SP:
            cfa = state.sp + rule.cfa_off
        else:
            saved = self._far(rule, state, later)
            cfa = _BELOW
        if rule.bp == SavedBp.CFA:
            saved = Saved(Reg.R6, cfa + rule.bp_off)
        self.compare(frame.callers, State(cfa, saved))

    def _far(self, rule: Rule, state: State, later: bool) -> Saved:
        """Let R6 be a CFA, less ``_BELOW``, that memory tells; return where BP was before."""
        asm, words, miss = self.asm, self.words, self.target.miss
        saved = state.bp
        if rule.cfa == Cfa.BP:
            self.load_bp(state)
            asm.alu(Alu.ADD, Reg.R1, rule.cfa_off)
        elif rule.cfa == Cfa.SP_DEREF:
            words.load(state.sp)
            asm.alu(Alu.ADD, Reg.R1, rule.cfa_off)
        elif rule.cfa == Cfa.BP_DEREF and rule.bp == SavedBp.BP:
            self.load_bp(state)
            asm.alu(Alu.ADD, Reg.R1, min(rule.cfa_off, rule.bp_off))
            words.cast(Reg.R9)
            words.load_by(Reg.R9, rule.cfa_off - min(rule.cfa_off, rule.bp_off))
            saved = Saved(Reg.R9, rule.bp_off - min(rule.cfa_off, rule.bp_off))
        else:
            raise Unsupported("a CFA in another register")
        if rule.bp == SavedBp.SAME:
            saved = self.keep(saved, later)
        asm.alu(Alu.ADD, Reg.R1, -_BELOW)
        words.rebase_from(state.sp - _BELOW)  # R3: the CFA less SP
        if rule.cfa == Cfa.SP_DEREF:  # another stack: not a little below this place
            asm.alu(Alu.ADD, Reg.R3, 2 * NEAR - 1)
            asm.jump_if(Jump.LT, Reg.R3, 2 * NEAR, miss)
        else:
            asm.alu(Alu.SUB, Reg.R3, 1)
            asm.jump_if(Jump.GE, Reg.R3, NEAR, miss)
        return saved

    def _registers(self, frame: HotFrame, rule: Rule, state: State) -> None:
        """The stack ends at user space's registers, or goes on where the kernel was interrupted."""
        asm, words, miss = self.asm, self.words, self.target.miss
        if rule.cfa != Cfa.SP:
            raise Unsupported("registers at a CFA that memory tells")
        regs = state.sp + rule.cfa_off
        words.load(regs + REGS_CS)
        asm.alu(Alu.AND, Reg.R1, 3)
        if not frame.callers:
            asm.jump_if(Jump.EQ, Reg.R1, 0, miss)
            self.accept(frame)
            return
        if frame.leaf is None:
            asm.jump_if(Jump.NE, Reg.R1, 0, miss)
        else:
            inside = asm.new_label()
            asm.jump_if(Jump.EQ, Reg.R1, 0, inside)
            known = words.known
            self.accept(frame)
            words.known = known
            asm.place(inside)
        if rule.bp == SavedBp.SAME:
            saved = Saved(Reg.R6, regs + REGS_BP)
        elif rule.bp == SavedBp.CFA:
            saved = Saved(Reg.R6, regs + rule.bp_off)
        else:
            raise Unsupported("a frame pointer below another")
        words.load(regs + REGS_IP, lambda: [regs + REGS_IP, regs + REGS_SP])
        words.load(regs + REGS_SP)
        asm.mov(Reg.R7, Reg.R1)
        words.load(regs + REGS_IP)
        for caller in frame.callers:
            following = asm.new_label()
            asm.jump_unless(Reg.R1, caller.ip, following, Reg.R2)
            known = words.known
            kept = self.keep(saved, self._needs_bp([caller]))
            asm.mov(Reg.R1, Reg.R7)
            asm.alu(Alu.ADD, Reg.R1, -_BELOW)
            words.rebase_from(state.sp - _BELOW)  # R3: its SP less ours
            asm.alu(Alu.ADD, Reg.R3, self.kernel.stack_size - 1)
            asm.jump_if(Jump.LT, Reg.R3, self.kernel.stack_size, miss)  # kw_went_back()
            self.go_on(caller, State(_BELOW, kept))
            words.known = known
            asm.place(following)
        asm.jump(miss)


def _leaving(frames: Sequence[HotFrame], sp: int, last: int) -> list[HotFrame]:
    """Return the frames from which the stack is left where SP is at ``last``."""
    found = []
    for frame in frames:
        rule = decode(frame.rule)
        if rule.cfa == Cfa.SP_DEREF and sp == last:
            found.append(frame)
        elif (
            rule.cfa == Cfa.SP
            and rule.frame == Below.CALL
            and (callers := _leaving(frame.callers, sp + rule.cfa_off, last))
        ):
            copy = HotFrame(frame.ip, frame.rule, frame.kind, frame.delta, frame.interrupted)
            copy.callers = callers
            found.append(copy)
    return found
