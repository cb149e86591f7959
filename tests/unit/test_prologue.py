# SPDX-License-Identifier: MIT
"""With frame pointers, the code tells where the return address is when a kprobe inside hits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.abi import Start
from kwalk.arch.x86_64 import prologue

ENDBR, CALL, NOP5 = "f3 0f 1e fa", "e8 7b 1c 00 00", "0f 1f 44 00 00"
PUSH, MOV, MOV_LOAD = "55", "48 89 e5", "48 8b ec"
SIZE = 0x80


def code(*parts: str) -> bytes:
    return bytes.fromhex(" ".join(parts))


def start(text: bytes, traced: bytes, offset: int, size: int) -> Start:
    """Of a function of ``size`` bytes, all in one place."""
    return prologue.start(placed(text, traced, offset), offset, range(size).__contains__)


def placed(text: bytes, traced: bytes, offset: int) -> bytes:
    """Code that begins with ``text`` and has ``traced`` at an offset, and nothing behind it."""
    return text[:offset].ljust(offset, b"\x90") + traced


# Beginning, loop and end as gcc 12 makes them with -O2 -fno-omit-frame-pointer -mfentry
# -fcf-protection=branch -mfunction-return=thunk-extern; jumps of every kind are added.
FUNCTION = code(
    ENDBR,  # 00 endbr64
    CALL,  # 04 call __fentry__
    PUSH,  # 09 push %rbp
    MOV,  # 0a mov %rsp,%rbp
    "41 55",  # 0d push %r13
    "41 54",  # 0f push %r12
    "53",  # 11 push %rbx
    "48 83 ec 18",  # 12 sub $0x18,%rsp
    "85 f6",  # 16 test %esi,%esi
    "0f 84 42 00 00 00",  # 18 je 60
    "48 63 f6",  # 1e movslq %esi,%rsi
    "48 89 fb",  # 21 mov %rdi,%rbx
    "45 31 e4",  # 24 xor %r12d,%r12d
    "4c 8d 2c b7",  # 27 lea (%rdi,%rsi,4),%r13
    "66 90",  # 2b xchg %ax,%ax
    "48 89 df",  # 2d mov %rbx,%rdi
    "48 83 c3 04",  # 30 add $0x4,%rbx
    "e8 37 12 00 00",  # 34 call work
    "41 01 c4",  # 39 add %eax,%r12d
    "4c 39 eb",  # 3c cmp %r13,%rbx
    "75 ec",  # 3f jne 2d
    "e9 1a 00 00 00",  # 41 jmp 60
    "0f 85 e1 ff ff ff",  # 46 jne 2d
    "e9 dc ff ff ff",  # 4c jmp 2d
    "0f 1f 80 00 00 00 00",  # 51 nopl
    "0f 1f 80 00 00 00 00",  # 58 nopl
    "90",  # 5f nop
    "48 83 c4 18",  # 60 add $0x18,%rsp
    "5b",  # 64 pop %rbx
    "44 89 e0",  # 65 mov %r12d,%eax
    "41 5c",  # 68 pop %r12
    "41 5d",  # 6a pop %r13
    "5d",  # 6c pop %rbp
    "e9 8e f1 c2 00",  # 6d jmp __x86_return_thunk
    "66 66 2e 0f 1f 84 00 00 00 00 00",  # 72 nop
    "0f 1f 00",  # 7d nop
)
PLACES = {
    0x00: Start.BARE,
    0x04: Start.BARE,
    0x09: Start.BARE,
    0x0A: Start.PUSHED,
    0x0D: Start.FRAME,
    0x18: Start.FRAME,
    0x34: Start.FRAME,
    0x3F: Start.FRAME,
    0x41: Start.FRAME,
    0x46: Start.FRAME,
    0x4C: Start.FRAME,
    0x6C: Start.FRAME,
    0x6D: Start.BARE,
}


@pytest.mark.parametrize("offset", PLACES, ids=hex)
def test_start_is_right_at_every_instruction_of_a_gcc_function(offset: int) -> None:
    assert len(FUNCTION) == SIZE
    traced = FUNCTION[offset : offset + 16]
    assert start(FUNCTION[:16], traced, offset, SIZE) == PLACES[offset]


@pytest.mark.parametrize("mov", [MOV, MOV_LOAD], ids=["mov to", "mov from"])
@pytest.mark.parametrize("place", ["", CALL, NOP5, "e8 0f 1f 0a 0d", "0f 1f 44 00 08"])
@pytest.mark.parametrize("endbr", ["", ENDBR])
def test_prologue_is_found_behind_endbr_and_the_ftrace_nop(
    endbr: str, place: str, mov: str
) -> None:
    before = len(code(endbr, place))
    text = code(endbr, place, PUSH, mov, "41 57 41 56 41 55 41 54")
    places = [0, len(code(endbr)), before, before + 1, before + 4]
    found = [start(text[:16], text[at : at + 16], at, SIZE) for at in places]
    assert found == [Start.BARE, Start.BARE, Start.BARE, Start.PUSHED, Start.FRAME]


@pytest.mark.parametrize(
    "text",
    [
        code(ENDBR, CALL, "48 8b 87 20 04 00 00"),  # mov 0x420(%rdi),%rax comes first
        code(ENDBR, CALL, PUSH, "48 89 42 08"),  # push %rbp, then another instruction
        code(ENDBR, CALL, "41 55 55", MOV),  # push %r13 comes first
        code(ENDBR, NOP5, CALL, PUSH, MOV),
        code(ENDBR, ENDBR, PUSH, MOV),
        code("cc 0f 1e fa", CALL, PUSH, MOV),  # a breakpoint is there
        code(ENDBR, CALL, "53"),
        code(ENDBR, CALL, PUSH, "48 89"),  # cut off
        code("90", PUSH, MOV),
        bytes(16),  # could not be read
        b"",
    ],
)
@pytest.mark.parametrize("offset", [0, 4, 9, 10, 13, 0x40])
def test_unknown_prologue_is_not_guessed(text: bytes, offset: int) -> None:
    assert start(text, code("c3").ljust(16), offset, SIZE) == Start.UNKNOWN


RET = {
    "ret": code("c3"),
    "ret and int3, in place of a return thunk": code("c3 cc cc cc cc"),
    "ret of so many bytes": code("c2 08 00"),
    "rep ret": code("f3 c3"),
}


@pytest.mark.parametrize("traced", RET.values(), ids=RET.keys())
def test_ret_has_the_return_address_at_sp(traced: bytes) -> None:
    assert start(FUNCTION[:16], traced.ljust(16, b"\x90"), 0x40, SIZE) == Start.BARE


@pytest.mark.parametrize(
    "traced", ["f3 0f 1e fa", "f3 90", "0f c3 07", "c9", "5d", "ca 00 00", "48 c3"]
)
def test_bytes_that_only_begin_like_ret_are_none(traced: str) -> None:
    assert start(FUNCTION[:16], code(traced).ljust(16, b"\xc3"), 0x40, SIZE) == Start.FRAME


def jump(opcode: bytes, offset: int, to: int) -> bytes:
    """A jump at ``offset`` of the function to its byte ``to``."""
    distance = to - (offset + len(opcode) + 4)
    return (opcode + distance.to_bytes(4, "little", signed=True)).ljust(16, b"\x90")


OPCODES = [b"\xe9", *(bytes((0x0F, 0x80 + number)) for number in range(16))]
FAR = st.integers(-(1 << 30), 1 << 30)
NEAR = st.sampled_from([0x10, 0x40, 0x1000]).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.sampled_from([-0x1000, -1, 0, 1, 0x20, size - 1, size, size + 1, 0x2000]),
    )
)


@pytest.mark.parametrize("opcode", OPCODES, ids=bytes.hex)
def test_far_jumps_may_leave_the_function(opcode: bytes) -> None:
    for to, place in [(-1, Start.BARE), (0, Start.FRAME), (SIZE, Start.BARE)]:
        assert start(FUNCTION[:16], jump(opcode, 0x40, to), 0x40, SIZE) == place


@given(
    st.sampled_from(OPCODES), st.integers(13, 0x3000), NEAR | st.tuples(st.integers(1, 0x5000), FAR)
)
def test_jump_out_of_the_function_is_a_tail_call(
    opcode: bytes, offset: int, size_and_to: tuple[int, int]
) -> None:
    size, to = size_and_to
    leaves = to < 0 or to >= size
    found = start(FUNCTION[:16], jump(opcode, offset, to), offset, size)
    assert found == (Start.BARE if leaves else Start.FRAME)


def test_jump_to_the_cold_part_stays_in_the_function() -> None:
    parts = [range(0x40), range(-0x1000, -0xFE0)]

    def within(at: int) -> bool:
        return any(at in part for part in parts)

    for to, place in [
        (-0x1001, Start.BARE),
        (-0x1000, Start.FRAME),
        (-0xFE1, Start.FRAME),
        (-0xFE0, Start.BARE),
        (0x3F, Start.FRAME),
    ]:
        traced = jump(b"\x0f\x88", 0x20, to)
        assert prologue.start(placed(FUNCTION[:16], traced, 0x20), 0x20, within) == place


@pytest.mark.parametrize(
    "traced",
    [
        "cc 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90",  # a breakpoint: what was there?
        "",
        "e9",
        "e9 10 00 00",
        "0f",
        "0f 85 10 00 00",
    ],
)
def test_instruction_seen_in_part_is_not_guessed(traced: str) -> None:
    assert start(FUNCTION[:16], code(traced), 0x40, SIZE) == Start.UNKNOWN


@given(st.binary(max_size=16), st.binary(max_size=16), st.integers(0, 1 << 20))
def test_start_is_defined_for_any_bytes(text: bytes, traced: bytes, offset: int) -> None:
    assert start(text, traced, offset, SIZE) in Start


@pytest.mark.parametrize("traced", ["ffe0", "41ffe3", "3effe0", "ff24c5", "00" * 6])
def test_indirect_jump_is_not_guessed(traced: str) -> None:
    text = code("0f1f440000", "55", "4889e5")
    assert start(text, bytes.fromhex(traced).ljust(16, b"\0"), 0x20, 0x100) == Start.UNKNOWN


@pytest.mark.parametrize(("distance", "place"), [(0x10, Start.FRAME), (0x7F, Start.BARE)])
@pytest.mark.parametrize("opcode", [b"\xeb", b"\x74"])
def test_short_jumps_may_leave_too(opcode: bytes, distance: int, place: Start) -> None:
    text = code("0f1f440000", "55", "4889e5")
    traced = (opcode + bytes([distance])).ljust(16, b"\x90")
    assert start(text, traced, 0x20, 0x40) == place


def test_jump_to_unnamed_code_is_a_foreign_probe() -> None:
    text = code("0f1f440000", "55", "4889e5")
    traced = jump(b"\xe9", 0x20, 0x10000).ljust(16, b"\x90")
    assert prologue.start(placed(text, traced, 0x20), 0x20, lambda distance: None) == Start.UNKNOWN
