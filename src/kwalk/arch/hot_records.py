# SPDX-License-Identifier: MIT
"""Generated code that follows stacks by frame records, for any architecture.

A record is {caller's frame pointer, return address}. Its place is taken from the tree only in
functions whose frame is known to be static, and loaded otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from kwalk.abi import NodeKind
from kwalk.arch.hot_follower import NEAR, Follower, Saved, State
from kwalk.arch.hot_frame import HotFrame, Unsupported
from kwalk.insn import Alu, Jump, Reg

_RECORD_BYTES = 16


class RecordsFollower(Follower):
    """By frame records: ``kw_walk_fp()``, ``kw_step_fp_any()``."""

    def is_static(self, frame: HotFrame, state: State) -> bool:
        """Whether the frame's record is at a constant distance from SP, by its code."""
        constant = bool(frame.delta) and not frame.interrupted and state.exact
        return constant and self.kernel.static_frame(frame.ip)

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        """See ``Follower.slots``."""
        at = [state.sp - 8]
        while callers and self.is_static(callers[0], state) and callers[0].callers:
            at.append(at[-1] + callers[0].delta)
            callers, state = callers[0].callers, state._replace(exact=True)
        return at

    def go_on(self, frame: HotFrame, state: State) -> None:
        """See ``Follower.go_on``."""
        asm = self.asm
        if frame.leaf is not None and frame.kind == NodeKind.LAST and not frame.interrupted:
            other = asm.new_label() if frame.callers else self.target.miss
            self.last(state, other)
            self.accept(frame)
            if not frame.callers:
                return
            asm.place(other)
        elif frame.leaf is not None:
            self.end(frame, state)
            return
        inner = [caller for caller in frame.callers if caller.interrupted]
        outer = [caller for caller in frame.callers if not caller.interrupted]
        if inner and outer:
            raise Unsupported("registers beside a frame")
        if inner:
            self.load_bp(state)
            self.registers(state, inner)
        elif self.is_static(frame, state):
            sp = state.sp + frame.delta
            self.compare(outer, State(sp, Saved(Reg.R6, sp - _RECORD_BYTES)))
        else:
            self.load_bp(state)
            self.record(state)
            self.compare(outer, State(_RECORD_BYTES, Saved(Reg.R6, 0), self.is_exact(frame)))

    @abstractmethod
    def last(self, state: State, other: str) -> None:
        """Go on unless the frame is not the last of the task's stack: ``kw_last_frame()``."""

    @abstractmethod
    def end(self, frame: HotFrame, state: State) -> None:
        """Emit the end of a stack in another frame."""

    @abstractmethod
    def registers(self, state: State, callers: Sequence[HotFrame]) -> None:
        """R1 is the frame pointer: go on at the kernel's code that was interrupted."""

    @abstractmethod
    def is_exact(self, frame: HotFrame) -> bool:
        """Whether the end of the frame's record tells its caller's stack pointer (``State``)."""

    def interrupted(self, callers: Sequence[HotFrame], *, ip: int, sp: int, fp: int) -> None:
        """R6 is the address of registers: go on at the caller whose code they are of.

        :param ip: Offset of the saved instruction pointer; the others likewise.
        """
        asm, words = self.asm, self.words
        words.load(sp)
        asm.mov(Reg.R7, Reg.R1)
        words.load(ip)
        for caller in callers:
            following = asm.new_label()
            asm.jump_unless(Reg.R1, caller.ip, following, Reg.R2)
            known = words.known
            saved = self.keep(Saved(Reg.R6, fp), True)
            asm.mov(Reg.R1, Reg.R7)
            words.rebase()
            self.go_on(caller, State(0, saved))
            words.known = known
            asm.place(following)
        asm.jump(self.target.miss)

    def record(self, state: State) -> None:
        """R1 must be a frame pointer above SP or on the task's stack: R6 becomes it.

        ``kw_is_frame()``, ``kw_on_task_stack()``.
        """
        near, far = self.asm.new_label(), self.asm.new_label()
        self.words.rebase_from(state.sp)  # R3: less SP
        self.asm.jump_if(Jump.SET, Reg.R3, ~(NEAR - 8), far)
        self.asm.place(near)
        self.later.append(lambda: self._far(far, near))

    def _far(self, far: str, near: str) -> None:
        """Go back to ``near`` if R6, a record that is not right above SP, is a caller's."""
        asm, miss, size = self.asm, self.target.miss, self.kernel.stack_size
        asm.place(far)
        asm.mov(Reg.R7, Reg.R3)
        self.words.less_task_stack()
        asm.jump_if(Jump.GE, Reg.R1, size, miss)
        asm.jump_if(Jump.SET, Reg.R1, 7, miss)
        asm.jump_if(Jump.LT, Reg.R7, 2 * size, near)  # above SP
        asm.alu(Alu.SUB, Reg.R1, Reg.R7)
        asm.jump_if(Jump.LT, Reg.R1, size + 1, miss)  # SP is on the task's stack, too
        asm.jump(near)
