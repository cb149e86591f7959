# SPDX-License-Identifier: MIT
"""BPF instructions: an assembler for programs that are made while kwalk runs.

Sources: ``Documentation/bpf/standardization/instruction-set.rst`` of the kernel (encoding),
``include/uapi/linux/bpf.h`` (numbers of helpers).
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

_WORD = 1 << 32
_CALL_HELPER, _CALL_KFUNC = 0, 2  # src_reg of a call: BPF_PSEUDO_KFUNC_CALL
# src_reg of a 64-bit load: BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, BPF_PSEUDO_BTF_ID
_MAP_FD, _MAP_VALUE, _BTF_ID = 1, 2, 3
_LD_IMM64, _CALL, _EXIT, _JA = 0x18, 0x85, 0x95, 0x05
_LDX, _ST, _STX, _MEM = 0x01, 0x02, 0x03, 0x60
_SIZES = {4: 0x00, 8: 0x18}
_INSN = struct.Struct("<BBhi")
INSN_BYTES = _INSN.size


class Reg(enum.IntEnum):
    """Registers: R0 has results, R1 to R5 arguments, R6 to R9 survive calls, R10 is the frame."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


class Alu(enum.IntEnum):
    """64-bit arithmetic with an immediate (class BPF_ALU64)."""

    ADD = 0x07
    SUB = 0x17
    AND = 0x57
    LSH = 0x67
    MOV = 0xB7


class Jump(enum.IntEnum):
    """Conditional jumps that compare 64 bits with an immediate (class BPF_JMP)."""

    EQ = 0x15
    SET = 0x45
    NE = 0x55
    GE = 0x35
    LT = 0xA5


class Helper(enum.IntEnum):
    """Helper functions."""

    TAIL_CALL = 12
    GET_SMP_PROCESSOR_ID = 8
    PROBE_READ_KERNEL = 113
    THIS_CPU_PTR = 154
    GET_CURRENT_TASK_BTF = 158


_X = 0x08  # source is a register


class _Insn(NamedTuple):
    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    target: str = ""  # label that off leads to


class Assembler:
    """Collects instructions; jumps go to labels, which may be placed later."""

    def __init__(self) -> None:
        self._insns: list[_Insn] = []
        self._labels: dict[str, int] = {}
        self._names = 0

    def __len__(self) -> int:
        return len(self._insns)

    def new_label(self) -> str:
        """Return the name of a label to be placed."""
        self._names += 1
        return f"L{self._names}"

    def place(self, label: str) -> None:
        """Let a label name the next instruction."""
        assert label not in self._labels
        self._labels[label] = len(self._insns)

    def alu(self, operation: Alu, dst: Reg, operand: Reg | int) -> None:
        """``dst = dst operation operand``; integers have 32 bits and are sign-extended."""
        if isinstance(operand, Reg):
            self._insns.append(_Insn(operation | _X, dst, operand))
        else:
            self._insns.append(_Insn(operation, dst, imm=operand))

    def mov(self, dst: Reg, operand: Reg | int) -> None:
        """``dst = operand``."""
        self.alu(Alu.MOV, dst, operand)

    def load(self, dst: Reg, src: Reg, off: int, size: int = 8) -> None:
        """``dst = *(src + off)``, of 4 or 8 bytes."""
        self._insns.append(_Insn(_LDX | _MEM | _SIZES[size], dst, src, off))

    def store(self, dst: Reg, off: int, value: Reg | int, size: int = 8) -> None:
        """``*(dst + off) = value``, of 4 or 8 bytes."""
        if isinstance(value, Reg):
            self._insns.append(_Insn(_STX | _MEM | _SIZES[size], dst, value, off))
        else:
            self._insns.append(_Insn(_ST | _MEM | _SIZES[size], dst, 0, off, value))

    def jump(self, label: str) -> None:
        """Jump always."""
        self._insns.append(_Insn(_JA, target=label))

    def jump_if(self, condition: Jump, dst: Reg, operand: Reg | int, label: str) -> None:
        """Jump if ``dst condition operand``; comparisons are unsigned."""
        if isinstance(operand, Reg):
            self._insns.append(_Insn(condition | _X, dst, operand, target=label))
        else:
            self._insns.append(_Insn(condition, dst, imm=operand, target=label))

    def jump_unless(self, dst: Reg, value: int, label: str, spare: Reg) -> None:
        """Jump unless ``dst`` is a 64-bit value; ``spare`` may be overwritten."""
        signed = value - (1 << 64) if value >> 63 else value
        if -(1 << 31) <= signed < 1 << 31:
            self.jump_if(Jump.NE, dst, signed, label)
        else:
            self.load_number(spare, value)
            self.jump_if(Jump.NE, dst, spare, label)

    def _wide(self, dst: Reg, src: int, low: int, high: int) -> None:
        self._insns += [_Insn(_LD_IMM64, dst, src, imm=low), _Insn(0, imm=high)]

    def load_number(self, dst: Reg, value: int) -> None:
        """``dst = value``, of 64 bits."""
        self._wide(dst, 0, value & (_WORD - 1), value >> 32 & (_WORD - 1))

    def load_map(self, dst: Reg, fd: int) -> None:
        """Load the address of a map."""
        self._wide(dst, _MAP_FD, fd, 0)

    def load_map_value(self, dst: Reg, fd: int, off: int = 0) -> None:
        """Load the address of a byte in the only value of an array."""
        self._wide(dst, _MAP_VALUE, fd, off)

    def load_variable(self, dst: Reg, btf_id: int) -> None:
        """Load the address of a kernel variable of vmlinux's BTF."""
        self._wide(dst, _BTF_ID, btf_id, 0)

    def call(self, helper: Helper) -> None:
        """Call a helper; R1 to R5 are lost."""
        self._insns.append(_Insn(_CALL, 0, _CALL_HELPER, imm=helper))

    def call_kfunc(self, btf_id: int) -> None:
        """Call a kernel function of vmlinux's BTF; R1 to R5 are lost."""
        self._insns.append(_Insn(_CALL, 0, _CALL_KFUNC, imm=btf_id))

    def exit(self, result: int = 0) -> None:
        """Return a number."""
        self.mov(Reg.R0, result)
        self._insns.append(_Insn(_EXIT))

    def assemble(self) -> bytes:
        """Return the program.

        :raises OverflowError: if a jump is too far (32,767 instructions).
        """
        out = bytearray()
        for number, insn in enumerate(self._insns):
            off = self._labels[insn.target] - number - 1 if insn.target else insn.off
            if not -(1 << 15) <= off < 1 << 15:
                raise OverflowError("a jump of a generated BPF program is too far")
            imm = insn.imm - _WORD if insn.imm >= _WORD >> 1 else insn.imm
            out += _INSN.pack(insn.code, insn.src << 4 | insn.dst, off, imm)
        return bytes(out)
