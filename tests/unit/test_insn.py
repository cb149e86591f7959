# SPDX-License-Identifier: MIT
"""Encoding of BPF instructions."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from kwalk.insn import INSN_BYTES, Alu, Assembler, Helper, Jump, Reg


def rows(asm: Assembler) -> list[tuple[int, int, int, int, int]]:
    """Return code, destination, source, offset and immediate of each instruction."""
    found = struct.iter_unpack("<BBhi", asm.assemble())
    return [(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in found]


@pytest.mark.parametrize(
    ("operation", "code"),
    [(Alu.ADD, 0x07), (Alu.SUB, 0x17), (Alu.AND, 0x57), (Alu.LSH, 0x67), (Alu.MOV, 0xB7)],
)
def test_arithmetic_with_a_number_and_with_a_register(operation: Alu, code: int) -> None:
    asm = Assembler()
    asm.alu(operation, Reg.R3, -5)
    asm.alu(operation, Reg.R3, Reg.R9)
    assert rows(asm) == [(code, 3, 0, 0, -5), (code | 8, 3, 9, 0, 0)]
    assert len(asm) == 2


def test_mov_is_arithmetic() -> None:
    asm = Assembler()
    asm.mov(Reg.R1, Reg.R10)
    asm.mov(Reg.R0, 7)
    assert rows(asm) == [(0xBF, 1, 10, 0, 0), (0xB7, 0, 0, 0, 7)]


def test_numbers_from_half_the_range_on_are_negative() -> None:
    """BPF extends the sign: 64-bit addresses at the top need no register."""
    asm = Assembler()
    asm.mov(Reg.R1, 0x7FFFFFFF)
    asm.mov(Reg.R1, 0x80000000)
    asm.mov(Reg.R1, -(1 << 31))
    assert [row[4] for row in rows(asm)] == [0x7FFFFFFF, -(1 << 31), -(1 << 31)]


def test_loads_and_stores_have_a_size() -> None:
    asm = Assembler()
    asm.load(Reg.R1, Reg.R6, 16376)
    asm.load(Reg.R1, Reg.R6, -8, size=4)
    asm.store(Reg.R2, 8, Reg.R7)
    asm.store(Reg.R2, 8, Reg.R7, size=4)
    asm.store(Reg.R2, 0, 9)
    asm.store(Reg.R2, 0, -1, size=4)
    assert rows(asm) == [
        (0x79, 1, 6, 16376, 0),
        (0x61, 1, 6, -8, 0),
        (0x7B, 2, 7, 8, 0),
        (0x63, 2, 7, 8, 0),
        (0x7A, 2, 0, 0, 9),
        (0x62, 2, 0, 0, -1),
    ]


@pytest.mark.parametrize(
    ("condition", "code"),
    [(Jump.EQ, 0x15), (Jump.NE, 0x55), (Jump.SET, 0x45), (Jump.GE, 0x35), (Jump.LT, 0xA5)],
)
def test_jumps_lead_forth_and_back(condition: Jump, code: int) -> None:
    asm = Assembler()
    begin, end = asm.new_label(), asm.new_label()
    assert begin != end
    asm.place(begin)
    asm.jump_if(condition, Reg.R1, -3, end)
    asm.jump_if(condition, Reg.R1, Reg.R2, begin)
    asm.jump(begin)
    asm.place(end)
    asm.exit()
    assert rows(asm) == [
        (code, 1, 0, 2, -3),
        (code | 8, 1, 2, -2, 0),
        (0x05, 0, 0, -3, 0),
        (0xB7, 0, 0, 0, 0),
        (0x95, 0, 0, 0, 0),
    ]


def test_labels_have_one_place() -> None:
    asm = Assembler()
    asm.place("here")
    with pytest.raises(AssertionError):
        asm.place("here")


@pytest.mark.parametrize("number", [32766, 32767])
def test_jumps_reach_as_far_as_their_offset(number: int) -> None:
    asm = Assembler()
    asm.jump("end")
    for _ in range(number):
        asm.mov(Reg.R0, 0)
    asm.place("end")
    asm.exit()
    assert rows(asm)[0] == (0x05, 0, 0, number, 0)


@pytest.mark.parametrize("back", [False, True])
def test_jumps_that_are_too_far_are_refused(back: bool) -> None:
    asm = Assembler()
    if back:
        asm.place("end")
    else:
        asm.jump("end")
    for _ in range(32768):
        asm.mov(Reg.R0, 0)
    if back:
        asm.jump("end")
    else:
        asm.place("end")
    with pytest.raises(OverflowError):
        asm.assemble()


def test_wide_numbers_take_two_instructions() -> None:
    asm = Assembler()
    asm.load_number(Reg.R2, 0xFFFF888112345678)
    asm.load_number(Reg.R2, 0x80000000)
    asm.load_map(Reg.R2, 5)
    asm.load_map_value(Reg.R2, 5, 4096)
    assert rows(asm) == [
        *((0x18, 2, 0, 0, 0x12345678), (0, 0, 0, 0, 0xFFFF8881 - (1 << 32))),
        *((0x18, 2, 0, 0, -(1 << 31)), (0, 0, 0, 0, 0)),
        *((0x18, 2, 1, 0, 5), (0, 0, 0, 0, 0)),
        *((0x18, 2, 2, 0, 5), (0, 0, 0, 0, 4096)),
    ]
    assert len(asm.assemble()) == 8 * INSN_BYTES


@pytest.mark.parametrize(
    ("value", "wide"),
    [
        *((0, False), (0x7FFFFFFF, False), (0x80000000, True), (0xFFFFFFFF, True)),
        *((0xFFFFFFFF80000000, False), (0xFFFFFFFF81000005, False), ((1 << 64) - 1, False)),
        *((0xFFFFFFFF7FFFFFFF, True), (0xFFFFFFFE81000005, True), (0x81000005, True)),
    ],
)
def test_comparisons_are_of_all_64_bits(value: int, wide: bool) -> None:
    """An immediate has 32 bits, whose sign is extended."""
    asm = Assembler()
    asm.jump_unless(Reg.R1, value, "end", Reg.R2)
    asm.place("end")
    found = rows(asm)
    if wide:
        assert [row[0] for row in found] == [0x18, 0, 0x5D]
        assert found[0][4] & 0xFFFFFFFF | (found[1][4] & 0xFFFFFFFF) << 32 == value
        assert found[2][1:4] == (1, 2, 0)
    else:
        assert found == [(0x55, 1, 0, 0, value - (1 << 64) if value >> 63 else value)]


def test_calls_and_the_exit() -> None:
    asm = Assembler()
    asm.call(Helper.TAIL_CALL)
    asm.call(Helper.GET_CURRENT_TASK_BTF)
    asm.call_kfunc(70000)
    asm.exit(3)
    assert rows(asm) == [
        (0x85, 0, 0, 0, 12),
        (0x85, 0, 0, 0, 158),
        (0x85, 0, 2, 0, 70000),
        (0xB7, 0, 0, 0, 3),
        (0x95, 0, 0, 0, 0),
    ]


def test_helpers_have_the_numbers_of_the_header() -> None:
    header = Path("/usr/include/linux/bpf.h")
    if not header.exists():
        pytest.skip("no linux/bpf.h")
    text = header.read_text()
    # FN(name), since 6.1 FN(name, number, ...); both count from 0.
    names = re.findall(r"^\s*FN\((\w+)[,)]", text, re.MULTILINE)
    assert names[0] == "unspec"
    for helper in Helper:
        assert names.index(helper.name.lower()) == helper


@pytest.mark.skipif(not shutil.which("clang"), reason="no clang")
def test_instructions_are_those_of_clangs_assembler(tmp_path: Path) -> None:
    asm = Assembler()
    asm.place("begin")
    asm.mov(Reg.R6, Reg.R1)
    asm.mov(Reg.R2, -7)
    asm.alu(Alu.ADD, Reg.R2, Reg.R6)
    asm.alu(Alu.SUB, Reg.R2, 4096)
    asm.alu(Alu.AND, Reg.R2, -16)
    asm.alu(Alu.LSH, Reg.R2, 9)
    asm.load(Reg.R1, Reg.R10, -400)
    asm.load(Reg.R1, Reg.R6, 136, size=4)
    asm.store(Reg.R10, -8, Reg.R1)
    asm.store(Reg.R10, -4, Reg.R1, size=4)
    asm.load_number(Reg.R3, 0xFFFFFFFE81000005)
    asm.jump_if(Jump.EQ, Reg.R1, Reg.R3, "end")
    asm.jump_if(Jump.NE, Reg.R1, -3, "end")
    asm.jump_if(Jump.SET, Reg.R1, 1, "end")
    asm.jump_if(Jump.GE, Reg.R1, 16384, "end")
    asm.jump_if(Jump.LT, Reg.R1, Reg.R2, "begin")
    asm.jump("begin")
    asm.place("end")
    asm.call(Helper.PROBE_READ_KERNEL)
    asm.exit()
    source = """
    begin:
        r6 = r1
        r2 = -7
        r2 += r6
        r2 -= 4096
        r2 &= -16
        r2 <<= 9
        r1 = *(u64 *)(r10 - 400)
        r1 = *(u32 *)(r6 + 136)
        *(u64 *)(r10 - 8) = r1
        *(u32 *)(r10 - 4) = r1
        r3 = 0xfffffffe81000005 ll
        if r1 == r3 goto end
        if r1 != -3 goto end
        .quad 0
        if r1 >= 16384 goto end
        if r1 < r2 goto begin
        goto begin
    end:
        call 113
        r0 = 0
        exit
    """
    if subprocess.run(
        ["clang", "-target", "bpf", "-c", "-x", "assembler", "-", "-o", tmp_path / "own.o"],
        input=source,
        text=True,
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("this clang has no assembler for BPF")
    data = (tmp_path / "own.o").read_bytes()
    # clang 14 has no syntax for JSET.
    code = bytearray(asm.assemble())
    jset = next(at for at in range(0, len(code), 8) if code[at] == 0x45)
    found = data.index(bytes(code[:8]))
    theirs = bytearray(data[found : found + len(code)])
    theirs[jset : jset + 8] = code[jset : jset + 8]
    assert theirs == code
