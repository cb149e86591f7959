# SPDX-License-Identifier: MIT
"""Generated code that follows stacks by records of frame pointers.

A place is taken from the tree only in functions whose frame is known to be static, and loaded
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.abi import NodeKind
from kwalk.arch.hot_frame import HotFrame, Unsupported
from kwalk.arch.x86_64.hot_follower import (
    NEAR,
    REGS_BP,
    REGS_BYTES,
    REGS_CS,
    REGS_IP,
    REGS_SP,
    Follower,
    Saved,
    State,
)
from kwalk.insn import Alu, Jump, Reg


class RecordsFollower(Follower):
    """By records of frame pointers: ``kw_walk_fp()``, ``kw_step_fp_any()``."""

    def _is_static(self, frame: HotFrame) -> bool:
        return bool(frame.delta) and not frame.interrupted and self.kernel.static_frame(frame.ip)

    def slots(self, callers: Sequence[HotFrame], state: State) -> list[int]:
        """See ``Follower.slots``."""
        at = [state.sp - 8]
        while callers and self._is_static(callers[0]) and callers[0].callers:
            at.append(at[-1] + callers[0].delta)
            callers = callers[0].callers
        return at

    def go_on(self, frame: HotFrame, state: State) -> None:
        """See ``Follower.go_on``."""
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
        top = kernel.stack_size - kernel.padding - REGS_BYTES
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
        self.words.load(REGS_CS)
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
        words.load(REGS_CS)
        asm.alu(Alu.AND, Reg.R1, 3)
        asm.jump_if(Jump.NE, Reg.R1, 0, miss)
        words.load(REGS_IP, lambda: [REGS_IP, REGS_SP])
        words.load(REGS_SP)
        asm.mov(Reg.R7, Reg.R1)
        words.load(REGS_IP)
        for caller in callers:
            following = asm.new_label()
            asm.jump_unless(Reg.R1, caller.ip, following, Reg.R2)
            known = words.known
            saved = self.keep(Saved(Reg.R6, REGS_BP), True)
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
