# SPDX-License-Identifier: MIT
"""Functions whose frame is at a constant distance from BP at each of their calls."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kwalk.arch.x86_64.static_frame import is_static

PROLOGUE = bytes.fromhex("55 48 89 e5")  # push %rbp; mov %rsp,%rbp
CALL = bytes.fromhex("e8 00 00 00 00")
END = bytes.fromhex("c9 c3")  # leave; ret

# Bytes, and what they are, in the assembler's words.
CONSTANT = {
    "53": "push %rbx",
    "41 57": "push %r15",
    "5b": "pop %rbx",
    "41 5f": "pop %r15",
    "48 83 ec 18": "sub $0x18,%rsp",
    "48 83 c4 18": "add $0x18,%rsp",
    "48 81 ec 00 02 00 00": "sub $0x200,%rsp",
    "48 81 c4 00 02 00 00": "add $0x200,%rsp",
    "48 89 c3": "mov %rax,%rbx",
    "48 89 44 24 08": "mov %rax,0x8(%rsp)",
    "48 8b 44 24 08": "mov 0x8(%rsp),%rax",
    "48 8d 44 24 10": "lea 0x10(%rsp),%rax",
    "48 89 e0": "mov %rsp,%rax",
    "4c 8d 6c 24 10": "lea 0x10(%rsp),%r13",
    "49 89 e4": "mov %rsp,%r12",
    "48 83 fc 10": "cmp $0x10,%rsp",
    "48 85 e4": "test %rsp,%rsp",
    "48 39 e0": "cmp %rsp,%rax",
    "4c 8b 24 24": "mov (%rsp),%r12",
    "4c 8b 64 24 08": "mov 0x8(%rsp),%r12",
    "4c 89 e3": "mov %r12,%rbx",
    "49 01 c4": "add %rax,%r12",
    "49 83 e4 f0": "and $0xfffffffffffffff0,%r12",
    "65 48 8b 04 25 28 00 00 00": "mov %gs:0x28,%rax",
    "ff 24 c5 00 00 00 81": "jmp *-0x7f000000(,%rax,8)",
}
WRITES = {
    "48 83 e4 f0": "and $0xfffffffffffffff0,%rsp",
    "48 83 e4 e0": "and $0xffffffffffffffe0,%rsp",
    "48 81 e4 00 fe ff ff": "and $0xfffffffffffffe00,%rsp",
    "48 83 cc 01": "or $0x1,%rsp",
    "48 83 f4 08": "xor $0x8,%rsp",
    "48 29 c4": "sub %rax,%rsp",
    "4c 29 d4": "sub %r10,%rsp",
    "48 2b 20": "sub (%rax),%rsp",
    "48 01 c4": "add %rax,%rsp",
    "48 03 24 c5 00 00 00 81": "add -0x7f000000(,%rax,8),%rsp",
    "4c 89 d4": "mov %r10,%rsp",
    "48 89 c4": "mov %rax,%rsp",
    "48 89 ec": "mov %rbp,%rsp",
    "48 8b 20": "mov (%rax),%rsp",
    "48 8b 62 18": "mov 0x18(%rdx),%rsp",
    "49 8b 62 18": "mov 0x18(%r10),%rsp",
    "65 48 8b 24 25 00 00 00 00": "mov %gs:0x0,%rsp",
    "48 8d 65 d8": "lea -0x28(%rbp),%rsp",
    "49 8d 62 f8": "lea -0x8(%r10),%rsp",
    "48 8d a4 24 00 ff ff ff": "lea -0x100(%rsp),%rsp",
    "48 87 e0": "xchg %rsp,%rax",
    "48 87 c4": "xchg %rax,%rsp",
    "48 94": "xchg %rax,%rsp",
    "48 c7 c4 00 00 00 81": "mov $0xffffffff81000000,%rsp",
    "48 bc 00 00 00 00 88 88 ff ff": "movabs $0xffff888800000000,%rsp",
    "48 0f 44 e0": "cmove %rax,%rsp",
    "48 0f af e0": "imul %rax,%rsp",
    "48 ff c4": "inc %rsp",
    "48 f7 dc": "neg %rsp",
    "48 c1 e4 04": "shl $0x4,%rsp",
    "48 63 e0": "movslq %eax,%rsp",
    "48 0f c1 c4": "xadd %rax,%rsp",
}


def function(*parts: bytes, prologue: bytes = PROLOGUE) -> tuple[bytes, int]:
    """Return a function, and the offset behind its call."""
    before = prologue + b"".join(parts) + CALL
    return before + END, len(before)


def test_frames_without_other_instructions_are_static() -> None:
    assert is_static(*function())


@pytest.mark.parametrize("code", [*CONSTANT], ids=[*CONSTANT.values()])
def test_frames_that_move_by_constants_are_static(code: str) -> None:
    assert is_static(*function(bytes.fromhex(code)))


@pytest.mark.parametrize("code", [*WRITES], ids=[*WRITES.values()])
@pytest.mark.parametrize("late", [False, True])
def test_frames_of_functions_that_compute_sp_are_dynamic(code: str, late: bool) -> None:
    """Wherever in the function: it may be in a loop."""
    data = bytes.fromhex(code)
    whole, offset = function() if late else function(data)
    assert not is_static(whole + data if late else whole, offset)


def test_frames_of_functions_without_a_prologue_are_dynamic() -> None:
    assert not is_static(*function(prologue=b""))
    assert not is_static(*function(prologue=b"\x55"))
    assert not is_static(*function(prologue=b"\x48\x89\xe5"))
    assert not is_static(b"", 0)


@pytest.mark.parametrize("move", ["48 89 e5", "48 8b ec"])
@pytest.mark.parametrize("between", ["", "53", "48 89 f8 31 d2"])
def test_prologues_of_each_compiler_are_known(move: str, between: str) -> None:
    prologue = b"\x55" + bytes.fromhex(between) + bytes.fromhex(move)
    endbr = bytes.fromhex("f3 0f 1e fa")
    call = bytes.fromhex("0f 1f 44 00 00")
    assert is_static(*function(prologue=endbr + call + prologue))


def test_frames_are_not_there_before_the_prologue() -> None:
    """A call that the tracer put in front of it, or one of a part without a frame."""
    code = CALL + PROLOGUE + CALL + END
    assert not is_static(code, len(CALL))
    assert not is_static(code, len(CALL) + 1)
    assert not is_static(code, len(CALL) + len(PROLOGUE) - 1)
    assert is_static(code, len(CALL) + len(PROLOGUE) + len(CALL))


@pytest.mark.parametrize("shift", range(1, 4))
def test_writes_are_found_at_any_byte(shift: int) -> None:
    """They may begin within what looks like another instruction."""
    hidden = b"\xb8" + bytes(shift - 1) + bytes.fromhex("48 29 c4") + bytes(2)
    assert not is_static(*function(hidden))


@pytest.mark.skipif(not shutil.which("as") or not shutil.which("objcopy"), reason="no binutils")
def test_bytes_are_those_of_the_assembler(tmp_path: Path) -> None:
    """So that the tables above are of the instructions that they name."""
    listed = {**CONSTANT, **WRITES}
    # Where an instruction has two encodings as(1) takes the other one.
    other = {"48 87 e0", "48 87 c4", "48 94"}
    chosen = {code: text for code, text in listed.items() if code not in other}
    source = "".join(f"{text}\n.byte 0xf1,0x06,0xf1,0x06\n" for text in chosen.values())
    command = ["as", "--64", "-o", str(tmp_path / "a.o"), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    command = ["objcopy", "-O", "binary", "-j", ".text", "a.o", "a.bin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = (tmp_path / "a.bin").read_bytes().split(b"\xf1\x06\xf1\x06")[:-1]
    assert [each.hex(" ") for each in found] == [*chosen]


REGISTERS = [
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{number}" for number in range(8, 16)),
]


@pytest.mark.skipif(not shutil.which("as") or not shutil.which("objcopy"), reason="no binutils")
def test_each_register_is_distinguished(tmp_path: Path) -> None:
    """Instructions write RSP if and only if they are found, whatever the other operand is."""
    shapes = ["mov %{a},%{b}", "sub %{a},%{b}", "and %{a},%{b}", "add %{a},%{b}", "xchg %{a},%{b}"]
    shapes += ["mov 0x8(%{a}),%{b}", "lea 0x8(%{a}),%{b}", "lea -0x1000(%{a}),%{b}"]
    shapes += ["cmovne %{a},%{b}", "add 0x10(%{a}),%{b}", "mov (%{a}),%{b}"]
    lines, expected = [], []
    for shape in shapes:
        for a in REGISTERS:
            for b in REGISTERS:
                lines.append(shape.format(a=a, b=b))
                swaps = shape.startswith("xchg")
                expected.append("rsp" in ((a, b) if swaps else (b,)))
    for shape in ("and $-16,%{b}", "xor $8,%{b}", "neg %{b}", "shl $3,%{b}", "mov $-1,%{b}"):
        for b in REGISTERS:
            lines.append(shape.format(b=b))
            expected.append(b == "rsp")
    source = "".join(f"{line}\n.byte 0xf1,0x06,0xf1,0x06\n" for line in lines)
    command = ["as", "--64", "-o", str(tmp_path / "a.o"), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    command = ["objcopy", "-O", "binary", "-j", ".text", "a.o", "a.bin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = (tmp_path / "a.bin").read_bytes().split(b"\xf1\x06\xf1\x06")[:-1]
    assert len(found) == len(lines)
    prologue = bytes.fromhex("55 48 89 e5")
    dynamic = [not is_static(prologue + code, len(prologue)) for code in found]
    missed = [line for line, is_, d in zip(lines, expected, dynamic, strict=True) if is_ and not d]
    assert missed == []
    refused = [line for line, is_, d in zip(lines, expected, dynamic, strict=True) if d and not is_]
    assert refused == []
