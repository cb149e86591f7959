# SPDX-License-Identifier: MIT
"""Generated code that follows stacks of x86-64 by records of frame pointers."""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.arch.hot_follower import State
from kwalk.arch.hot_frame import HotFrame, Unsupported
from kwalk.arch.hot_records import RecordsFollower
from kwalk.arch.x86_64.hot_start import REGS_BP, REGS_BYTES, REGS_CS, REGS_IP, REGS_SP, Begins
from kwalk.insn import Alu, Jump, Reg


class X86RecordsFollower(RecordsFollower, Begins):
    """By records of frame pointers: bpf/arch/x86/fp.bpf.h."""

    def is_exact(self, frame: HotFrame) -> bool:
        """See ``RecordsFollower.is_exact``: a call pushes the return address there."""
        return True

    def last(self, state: State, other: str) -> None:
        """See ``RecordsFollower.last``."""
        kernel = self.kernel
        self.words.less_task_stack()
        top = kernel.stack_size - kernel.padding - REGS_BYTES
        self.asm.jump_if(Jump.NE, Reg.R1, top - state.sp, other)

    def end(self, frame: HotFrame, state: State) -> None:
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

    def registers(self, state: State, callers: Sequence[HotFrame]) -> None:
        """See ``RecordsFollower.registers``."""
        asm, words, miss = self.asm, self.words, self.target.miss
        self._encoded()
        words.load(REGS_CS)
        asm.alu(Alu.AND, Reg.R1, 3)
        asm.jump_if(Jump.NE, Reg.R1, 0, miss)
        words.load(REGS_IP, lambda: [REGS_IP, REGS_SP])
        self.interrupted(callers, ip=REGS_IP, sp=REGS_SP, fp=REGS_BP)
