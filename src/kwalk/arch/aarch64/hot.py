# SPDX-License-Identifier: MIT
"""Generated code that compares a stack with known ones, on arm64.

It follows the same rules as the walk (``bpf/arch/arm64/``, ``bpf/cct/walk.bpf.h``), with the places
of frame records as immediates where functions have static frames. Each return address is compared,
but for the bits that a signature may stand in, which are the same in all code. All else is a miss.
"""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.abi import NodeKind
from kwalk.arch.hot_follower import Saved, State
from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget, Unsupported
from kwalk.arch.hot_records import RecordsFollower
from kwalk.insn import Alu, Helper, Jump, Reg

# Offsets in struct pt_regs.
_REGS_FP, _REGS_LR, _REGS_SP, _REGS_IP = 8 * 29, 8 * 30, 8 * 31, 8 * 32
_RECORD_BYTES = 16
_META_REGS = 2  # FRAME_META_TYPE_PT_REGS


def emit(root: HotFrame, start: HotStart, kernel: HotKernel, target: HotTarget) -> None:
    """Emit the comparison of a hit's stack with those under ``root``.

    :raises Unsupported: if one of them cannot be followed.
    """
    follower = _ArmFollower(kernel, target)
    follower.begin(root, start)
    follower.finish()


class _ArmFollower(RecordsFollower):
    """By frame records, arm64's only way."""

    def begin(self, root: HotFrame, start: HotStart) -> None:
        """Emit all code, from the probe on."""
        asm, words, miss = self.asm, self.words, self.target.miss
        if not start.fentry:
            asm.load(Reg.R1, Reg.R8, _REGS_SP)
            words.rebase()
            asm.load(Reg.R1, Reg.R8, _REGS_LR)
            self.choose(root.callers, State(0, Saved(Reg.R8, _REGS_FP)))
            return
        # The trampoline's own record, with the address in FUNC, then the one made for FUNC.
        words.begin_at_context(self.target.context)
        own = 8 * (start.arguments + start.shift)
        record = own + _RECORD_BYTES
        state = State(record + _RECORD_BYTES, Saved(Reg.R6, record))
        words.load(own, lambda: [own, own + 8, *self.slots(root.callers, state)])
        asm.mov(Reg.R2, Reg.R6)
        asm.alu(Alu.ADD, Reg.R2, record)
        asm.jump_if(Jump.NE, Reg.R1, Reg.R2, miss)
        words.load(own + 8)
        self.unsign()
        asm.jump_unless(Reg.R1, self.unsigned(start.returns), miss, Reg.R2)
        self.compare(root.callers, state)

    def go_on(self, frame: HotFrame, state: State) -> None:
        """See ``Follower.go_on``."""
        if frame.kind == NodeKind.LAST and any(not c.interrupted for c in frame.callers):
            raise Unsupported("entry code that was called")
        super().go_on(frame, state)

    def is_exact(self, frame: HotFrame) -> bool:
        """See ``RecordsFollower.is_exact``: the caller's SP, where the frame is static."""
        return not frame.interrupted and self.kernel.static_frame(frame.ip)

    def last(self, state: State, other: str) -> None:
        """See ``RecordsFollower.last``: FP is the address of the task's last record."""
        asm, kernel = self.asm, self.kernel
        self.load_bp(state)
        asm.mov(Reg.R7, Reg.R1)
        asm.call(Helper.GET_CURRENT_TASK_BTF)
        asm.load(Reg.R1, Reg.R0, kernel.task_stack)
        asm.alu(Alu.ADD, Reg.R1, kernel.stack_size - kernel.last_record)
        asm.jump_if(Jump.NE, Reg.R1, Reg.R7, other)

    def end(self, frame: HotFrame, state: State) -> None:
        """See ``RecordsFollower.end``: it may have been interrupted."""
        if frame.kind != NodeKind.LAST or frame.callers:
            raise Unsupported("a stack that ends elsewhere than at user space's registers")
        self.last(state, self.target.miss)
        self.accept(frame)

    def registers(self, state: State, callers: Sequence[HotFrame]) -> None:
        """See ``RecordsFollower.registers``: ``kw_regs_around()``."""
        asm, words, miss = self.asm, self.words, self.target.miss
        record = self.kernel.regs_record
        self.record(state)
        asm.mov(Reg.R1, Reg.R6)
        asm.alu(Alu.SUB, Reg.R1, record)
        words.rebase()
        words.load(record, lambda: [_REGS_FP, record + _RECORD_BYTES])
        if self.kernel.record_types:
            for off, value in ((0, 0), (8, 0), (_RECORD_BYTES, _META_REGS)):
                words.load(record + off)
                asm.jump_if(Jump.NE, Reg.R1, value, miss)
        else:
            for off, copy in ((0, _REGS_FP), (8, _REGS_IP)):
                words.load(record + off)
                asm.mov(Reg.R7, Reg.R1)
                words.load(copy)
                asm.jump_if(Jump.NE, Reg.R1, Reg.R7, miss)
        self.interrupted(callers, ip=_REGS_IP, sp=_REGS_SP, fp=_REGS_FP)
