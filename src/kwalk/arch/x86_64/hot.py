# SPDX-License-Identifier: MIT
"""Generated code that compares a stack with known ones, on x86-64.

It follows the same rules as the walk (``bpf/arch/x86/step.bpf.h``, ``walk.bpf.h``,
``bpf/cct/walk.bpf.h``), with every offset that the rules make constant as an immediate. Each return
address is compared, all 64 bits of it, where the rules say that it stands; where they go by a value
of memory, the value is loaded and checked as in the walk. All else is a miss.

R6 is a base: an address that words are loaded relative to. By unwind tables a frame is where ORC
says; by frame pointers a place is taken from the tree only in functions whose frame is proved to be
static, and loaded otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import ENTRY_BYTES, NodeKind, Unwinder
from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget, Unsupported
from kwalk.arch.x86_64.read_words import Words
from kwalk.arch.x86_64.rule import Below, Cfa, Rule, SavedBp, decode
from kwalk.insn import Alu, Jump, Reg

NEAR = 16384  # KW_NEAR
_IP, _CS, _SP, _BP, _REGS = 128, 136, 152, 32, 168  # struct pt_regs
# Bytes below a new base's frame that may be loaded, too: saved registers lie there.
_BELOW = 512


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


def emit(root: HotFrame, start: HotStart, kernel: HotKernel, target: HotTarget) -> None:
    """Emit the comparison of a hit's stack with those under ``root``.

    :raises Unsupported: if one of them cannot be followed.
    """
    follower = _ByTables if kernel.unwinder == Unwinder.ORC else _ByFramePointers
    follower(kernel, target).begin(root, start)


class _Follower:
    """Code common to both kinds of unwinding."""

    def __init__(self, kernel: HotKernel, target: HotTarget) -> None:
        self.kernel, self.target, self.asm = kernel, target, target.asm
        self.words = Words(kernel, target.asm)

    def begin(self, root: HotFrame, start: HotStart) -> None:
        """Emit all code, from the probe on."""
        asm, words = self.asm, self.words
        if not start.fentry:
            asm.load(Reg.R1, Reg.R8, _SP)
            words.rebase()
            self.compare(root.callers, State(8, Saved(Reg.R8, _BP)))
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

    def go_on(self, frame: HotFrame, state: State) -> None:
        """Emit the way from a frame, whose address was compared, outwards."""
        raise NotImplementedError

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        """Return where the next words are, relative to R6, if the stack is the hottest one."""
        raise NotImplementedError

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


class _ByTables(_Follower):
    """By ORC: ``kw_step_any()`` of bpf/arch/x86/step.bpf.h."""

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
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
                at.append(sp + _CS)
                break
            at.append(sp - 8)
            callers = callers[0].callers
            if rule.bp == SavedBp.CFA and self._needs_bp(callers[:1]):
                at.append(sp + rule.bp_off)
        return at

    def go_on(self, frame: HotFrame, state: State) -> None:
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
        words.load(regs + _CS)
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
            saved = Saved(Reg.R6, regs + _BP)
        elif rule.bp == SavedBp.CFA:
            saved = Saved(Reg.R6, regs + rule.bp_off)
        else:
            raise Unsupported("a frame pointer below another")
        words.load(regs + _IP, lambda: [regs + _IP, regs + _SP])
        words.load(regs + _SP)
        asm.mov(Reg.R7, Reg.R1)
        words.load(regs + _IP)
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


class _ByFramePointers(_Follower):
    """By records of frame pointers: ``kw_walk_fp()``, ``kw_step_fp_any()``."""

    def _is_static(self, frame: HotFrame) -> bool:
        return bool(frame.delta) and not frame.interrupted and self.kernel.static_frame(frame.ip)

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        at = [state.sp - 8]
        while callers and self._is_static(callers[0]) and callers[0].callers:
            at.append(at[-1] + callers[0].delta)
            callers = callers[0].callers
        return at

    def go_on(self, frame: HotFrame, state: State) -> None:
        asm = self.asm
        if frame.leaf is not None and frame.kind == NodeKind.LAST and not frame.interrupted:
            other = asm.new_label() if frame.callers else self.target.miss
            self._last(state, other)
            self.accept(frame)
            if not frame.callers:
                return
            asm.place(other)
        elif frame.leaf is not None:
            self._end(frame, state)
            return
        if self._is_static(frame):
            if any(caller.interrupted for caller in frame.callers):
                raise Unsupported("registers above a static frame")
            sp = state.sp + frame.delta
            self.compare(frame.callers, State(sp, Saved(Reg.R6, sp - 16)))
            return
        inner = [caller for caller in frame.callers if caller.interrupted]
        outer = [caller for caller in frame.callers if not caller.interrupted]
        self.load_bp(state)
        if inner and outer:
            raise Unsupported("registers beside a frame")
        if inner:
            self._registers(frame, inner)
        else:
            self._record(state)
            self.compare(outer, State(16, Saved(Reg.R6, 0)))

    def _last(self, state: State, other: str) -> None:
        """Go on unless the frame is not the last of the task's stack: ``kw_last_frame()``."""
        kernel = self.kernel
        self.words.less_task_stack()
        top = kernel.stack_size - kernel.padding - _REGS
        self.asm.jump_if(Jump.NE, Reg.R1, top - state.sp, other)

    def _end(self, frame: HotFrame, state: State) -> None:
        """The stack ends without a frame pointer, or at user space's registers."""
        asm = self.asm
        if frame.callers:
            raise Unsupported("a stack that ends, or goes on, at one frame")
        some = asm.new_label()
        self.load_bp(state)
        asm.jump_if(Jump.NE, Reg.R1, 0, some)
        known = self.words.known
        self.accept(frame)
        self.words.known = known
        asm.place(some)
        self._encoded()
        self.words.load(_CS)
        asm.alu(Alu.AND, Reg.R1, 3)
        asm.jump_if(Jump.EQ, Reg.R1, 0, self.target.miss)
        self.accept(frame)

    def _encoded(self) -> None:
        """R1 must be the address + 1 of registers: R6 becomes that address."""
        asm, odd = self.asm, self.asm.new_label()
        asm.jump_if(Jump.SET, Reg.R1, 1, odd)
        asm.jump(self.target.miss)
        asm.place(odd)
        asm.alu(Alu.SUB, Reg.R1, 1)
        self.words.rebase()

    def _registers(self, frame: HotFrame, callers: Sequence[HotFrame]) -> None:
        """Go on at the kernel's code that was interrupted."""
        asm, words, miss = self.asm, self.words, self.target.miss
        self._encoded()
        words.load(_CS)
        asm.alu(Alu.AND, Reg.R1, 3)
        asm.jump_if(Jump.NE, Reg.R1, 0, miss)
        words.load(_IP, lambda: [_IP, _SP])
        words.load(_SP)
        asm.mov(Reg.R7, Reg.R1)
        words.load(_IP)
        for caller in callers:
            following = asm.new_label()
            asm.jump_unless(Reg.R1, caller.ip, following, Reg.R2)
            known = words.known
            saved = self.keep(Saved(Reg.R6, _BP), True)
            asm.mov(Reg.R1, Reg.R7)
            words.rebase()
            self.go_on(caller, State(0, saved))
            words.known = known
            asm.place(following)
        asm.jump(miss)

    def _record(self, state: State) -> None:
        """R1 must be a frame pointer of this stack or the task's: R6 becomes it. kw_is_frame()."""
        asm, near = self.asm, self.asm.new_label()
        self.words.rebase_from(state.sp)  # R3: less SP
        asm.alu(Alu.AND, Reg.R3, ~(NEAR - 8))
        asm.jump_if(Jump.EQ, Reg.R3, 0, near)
        self.words.less_task_stack()
        asm.jump_if(Jump.GE, Reg.R1, self.kernel.stack_size, self.target.miss)
        asm.jump_if(Jump.SET, Reg.R1, 1, self.target.miss)
        asm.place(near)
