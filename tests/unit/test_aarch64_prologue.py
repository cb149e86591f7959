# SPDX-License-Identifier: MIT
"""The place of the return address at an instruction of arm64's functions."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.abi import Start
from kwalk.arch.aarch64 import prologue

NOP, BTI, MOVE, CALL = 0xD503201F, 0xD503245F, 0xAA1E03E9, 0x94000040
STP, FRAME, LDP, RET = 0xA9BE7BFD, 0x910003FD, 0xA8C27BFD, 0xD65F03C0
BUG, KPROBE = 0xD4210000, 0xD4200080


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def start(words: tuple[int, ...], at: int) -> Start:
    """Return the place at an instruction, by its number."""
    text = code(*words)
    return prologue.start(text, 4 * at, range(len(text)).__contains__)


# By clang 14, -O2 -fno-omit-frame-pointer -mbranch-protection=pac-ret
# -fpatchable-function-entry=2: a loop, a switch, a tail call, a call that does not return.
FUNCTION = (
    0xD503201F,  #   0 nop
    0xD503201F,  #   4 nop
    0xD503233F,  #   8 paciasp
    0xA9BD7BFD,  #   c stp x29, x30, [sp, #-48]!
    0xA90157F6,  #  10 stp x22, x21, [sp, #16]
    0x910003FD,  #  14 mov x29, sp
    0xA9024FF4,  #  18 stp x20, x19, [sp, #32]
    0xB40001E0,  #  1c cbz x0, 58
    0x2A0103F3,  #  20 mov w19, w1
    0x7100043F,  #  24 cmp w1, #1
    0x5400024B,  #  28 b.lt 70
    0xAA0003F5,  #  2c mov x21, x0
    0x2A1F03F4,  #  30 mov w20, wzr
    0x2A1303F6,  #  34 mov w22, w19
    0xB84046A0,  #  38 ldr w0, [x21], #4
    0x94000000,  #  3c bl 3c
    0xF10006D6,  #  40 subs x22, x22, #1
    0x0B140014,  #  44 add w20, w0, w20
    0x54FFFF81,  #  48 b.ne 38
    0x7100167F,  #  4c cmp w19, #5
    0x54000169,  #  50 b.ls 7c
    0x14000022,  #  54 b dc
    0xA9424FF4,  #  58 ldp x20, x19, [sp, #32]
    0x128002A0,  #  5c mov w0, #-22
    0xA94157F6,  #  60 ldp x22, x21, [sp, #16]
    0xA8C37BFD,  #  64 ldp x29, x30, [sp], #48
    0xD50323BF,  #  68 autiasp
    0xD65F03C0,  #  6c ret
    0x2A1F03F4,  #  70 mov w20, wzr
    0x7100167F,  #  74 cmp w19, #5
    0x54000328,  #  78 b.hi dc
    0x90000009,  #  7c adrp x9, 0
    0x2A1303E8,  #  80 mov w8, w19
    0x91000129,  #  84 add x9, x9, #0
    0x1000008A,  #  88 adr x10, #16
    0x3868692B,  #  8c ldrb w11, [x9, x8]
    0x8B0B094A,  #  90 add x10, x10, x11, lsl #2
    0xD61F0140,  #  94 br x10
    0x2A1403E0,  #  98 mov w0, w20
    0x94000000,  #  9c bl 9c
    0x1400000E,  #  a0 b d8
    0x2A1403E0,  #  a4 mov w0, w20
    0x1400000B,  #  a8 b d4
    0x11000E94,  #  ac add w20, w20, #3
    0x1400000B,  #  b0 b dc
    0x2A1403E0,  #  b4 mov w0, w20
    0x94000000,  #  b8 bl b8
    0x94000000,  #  bc bl bc
    0x14000006,  #  c0 b d8
    0x528009A8,  #  c4 mov w8, #77
    0x4A080294,  #  c8 eor w20, w20, w8
    0x14000004,  #  cc b dc
    0x52800020,  #  d0 mov w0, #1
    0x94000000,  #  d4 bl d4
    0x2A0003F4,  #  d8 mov w20, w0
    0x37F80114,  #  dc tbnz w20, #31, fc
    0x2A1403E0,  #  e0 mov w0, w20
    0x2A1303E1,  #  e4 mov w1, w19
    0xA9424FF4,  #  e8 ldp x20, x19, [sp, #32]
    0xA94157F6,  #  ec ldp x22, x21, [sp, #16]
    0xA8C37BFD,  #  f0 ldp x29, x30, [sp], #48
    0xD50323BF,  #  f4 autiasp
    0x14000000,  #  f8 b f8
    0x94000000,  #  fc bl fc
)
PLACES = {
    **dict.fromkeys(range(0x00, 0x18, 4), Start.BARE),
    **dict.fromkeys(range(0x18, 0x68, 4), Start.FRAME),
    **dict.fromkeys((0x68, 0x6C), Start.BARE),
    **dict.fromkeys(range(0x70, 0x98, 4), Start.FRAME),
    **dict.fromkeys(range(0x98, 0xDC, 4), Start.UNKNOWN),  # cases of the switch
    **dict.fromkeys(range(0xDC, 0xF4, 4), Start.FRAME),
    **dict.fromkeys((0xF4, 0xF8), Start.BARE),
    0xFC: Start.FRAME,
    0x100: Start.UNKNOWN,
}


@pytest.mark.parametrize("offset", PLACES, ids=hex)
def test_start_is_right_at_every_instruction_of_a_function(offset: int) -> None:
    text = code(*FUNCTION)
    found = prologue.start(text, offset, range(len(text)).__contains__)
    assert found == PLACES[offset]


@pytest.mark.parametrize("offset", [1, 2, 3, 0x19, -4, 1 << 20])
def test_place_between_or_outside_of_instructions_is_unknown(offset: int) -> None:
    text = code(*FUNCTION)
    found = prologue.start(text, offset, range(len(text)).__contains__)
    assert found == Start.UNKNOWN


@pytest.mark.parametrize("entry", [(), (BTI,), (NOP, NOP), (BTI, MOVE, NOP), (BTI, MOVE, CALL)])
def test_call_of_ftrace_leaves_lr_as_it_was(entry: tuple[int, ...]) -> None:
    words = (*entry, STP, FRAME, LDP, RET)
    at = len(entry)
    found = [start(words, number) for number in range(len(words))]
    assert found == [Start.BARE] * (at + 2) + [Start.FRAME, Start.BARE]


def test_call_without_a_record_loses_lr() -> None:
    assert start((NOP, CALL, RET), 1) == Start.BARE
    assert start((NOP, CALL, RET), 2) == Start.UNKNOWN
    assert start((CALL, RET), 1) == Start.UNKNOWN
    assert start((CALL, RET, MOVE), 1) == Start.UNKNOWN


@pytest.mark.parametrize(
    "call", [0x94000001, 0x97FFFFFF, 0xD63F0000, 0xD63F03C0, 0xD63F081F, 0xD73F0801, 0xD73F0C22]
)
def test_call_keeps_the_record(call: int) -> None:
    """bl forwards and backwards, blr, blraaz, blraa, blrab."""
    words = (STP, FRAME, call, LDP, RET)
    assert [start(words, at) for at in (2, 3, 4)] == [Start.FRAME, Start.FRAME, Start.BARE]
    assert start((call, RET), 1) == Start.UNKNOWN


@pytest.mark.parametrize(
    "frame",
    [
        (0xA9BE7BFD, 0x910003FD, 0xA8C27BFD),  # stp x29, x30, [sp, #-32]!; mov x29, sp; ldp
        (0xA9037BFD, 0x9100C3FD, 0xA9437BFD),  # stp x29, x30, [sp, #48]; add x29, sp, #48; ldp
        (0xA9007BFD, 0x914007FD, 0xA9C27BFD),  # add x29, sp, #1, lsl #12; ldp, pre-indexed
        (0xA8007BFD, 0x913FFFFD, 0xA8407BFD),  # stnp; add x29, sp, #4095; ldnp
    ],
)
def test_record_is_complete_when_fp_points_to_it(frame: tuple[int, int, int]) -> None:
    words = (*frame[:2], NOP, frame[2], NOP, RET)
    found = [start(words, at) for at in range(6)]
    assert found == [Start.BARE] * 2 + [Start.FRAME] * 2 + [Start.BARE] * 2


@pytest.mark.parametrize(
    "leaves", [RET, 0xD65F0BFF, 0xD65F0FFF, 0xD69F03E0, 0xD61F0200, 0xD71F0A11]
)
def test_code_behind_the_end_of_a_way_is_not_reached_by_it(leaves: int) -> None:
    """ret, retaa, retab, eret, br, braa."""
    assert start((NOP, leaves, NOP), 1) == Start.BARE
    assert start((NOP, leaves, NOP), 2) == Start.UNKNOWN


@pytest.mark.parametrize(
    ("branch", "back"),
    [
        (0x54000040, 0x54FFFFC1),  # b.eq +8, b.ne -8
        (0x34000043, 0xB4FFFFC3),  # cbz
        (0x35000043, 0xB5FFFFC3),  # cbnz
        (0x36000043, 0xB6FFFFC3),  # tbz
        (0x37080043, 0xB7FFFFC3),  # tbnz
        (0x54000050, 0x54FFFFD1),  # bc.eq, bc.ne
    ],
)
def test_conditional_branches_go_both_ways(branch: int, back: int) -> None:
    """Over an instruction that loses FP; back to one, with and without the record."""
    lose = 0xAA0003FD  # mov x29, x0
    assert start((branch, lose, NOP), 1) == Start.BARE
    assert start((branch, lose, NOP), 2) == Start.UNKNOWN
    assert start((branch, RET, NOP), 2) == Start.BARE
    words = (NOP, STP, FRAME, back, NOP)
    assert [start(words, at) for at in (0, 1, 3, 4)] == [
        *(Start.BARE, Start.UNKNOWN, Start.UNKNOWN, Start.UNKNOWN)
    ]


def test_jumps_are_followed_in_both_directions() -> None:
    words = (0x14000003, FRAME, 0x14000002, 0x17FFFFFE, NOP)  # b 3; b 4; b 1
    assert [start(words, at) for at in range(5)] == [
        *(Start.BARE, Start.BARE, Start.FRAME, Start.BARE, Start.FRAME)
    ]


def test_jump_out_of_the_function_is_not_followed() -> None:
    """Into code that is there, but another function's."""
    text = code(STP, FRAME, 0x54000060, LDP, RET, NOP)
    found = prologue.start(text, 20, range(20).__contains__)
    assert found == Start.UNKNOWN
    assert prologue.start(text, 16, lambda at: None) == Start.UNKNOWN


def test_code_that_could_not_be_read_is_unknown() -> None:
    assert start((), 0) == Start.UNKNOWN
    assert prologue.start(code(NOP, NOP)[:7], 4, lambda at: True) == Start.UNKNOWN


def test_warnings_go_on_and_other_breakpoints_hide_an_instruction() -> None:
    for breakpoint, after in ((BUG, Start.FRAME), (KPROBE, Start.UNKNOWN), (0xD4201FE0, None)):
        words = (STP, FRAME, breakpoint, NOP, RET)
        assert start(words, 2) == Start.FRAME
        assert start(words, 3) == (after or Start.UNKNOWN)
    assert start((KPROBE, NOP), 0) == Start.BARE  # the traced instruction itself


def test_ways_that_differ_leave_it_open() -> None:
    """One with the record and one without, in whatever order they are found."""
    skip = 0xB4000060  # cbz x0, 3 further on
    words = (skip, STP, FRAME, NOP, LDP, RET)
    assert start(words, 3) == Start.UNKNOWN
    assert start(words, 4) == Start.UNKNOWN
    assert start(words, 2) == Start.BARE


WRITES = {
    "mov x29, x0": (0xAA0003FD, 29),
    "mov w29, w0": (0x2A0003FD, 29),
    "add x29, x29, #16": (0x910043BD, 29),
    "sub x29, sp, #16": (0xD10043FD, 29),
    "movz x30, #1": (0xD280003E, 30),
    "adr x30, .": (0x1000001E, 30),
    "csel x29, x0, x1, eq": (0x9A81001D, 29),
    "madd x30, x0, x1, x2": (0x9B01081E, 30),
    "ldr x29, [sp]": (0xF94003FD, 29),
    "ldr x30, [sp], #16": (0xF84107FE, 30),
    "ldr x30, [x0, x1]": (0xF861681E, 30),
    "ldr x30, literal": (0x5800001E, 30),
    "ldrsw x29, [x0]": (0xB980001D, 29),
    "str x0, [x29, #8]!": (0xF8008FA0, 29),
    "str x0, [x29], #8": (0xF80087A0, 29),
    "str q0, [x29], #16": (0x3C8107A0, 29),
    "stp x0, x1, [x29], #16": (0xA88107A0, 29),
    "ldp x0, x29, [sp, #16]": (0xA94177E0, 29),
    "ldp x0, x1, [x29], #16": (0xA8C107A0, 29),
    "ldp q0, q1, [x29], #32": (0xACC107A0, 29),
    "ldpsw x30, x0, [x1]": (0x6940003E, 30),
    "ldxr x29, [x0]": (0xC85F7C1D, 29),
    "stxr w29, x0, [x1]": (0xC81D7C20, 29),
    "ldxp x0, x30, [x1]": (0xC87F7820, 30),
    "cas x29, x0, [x1]": (0xC8BD7C20, 29),
    "casp x28, x29, x0, x1, [x2]": (0x483C7C40, 29),
    "ldadd x0, x29, [x1]": (0xF820003D, 29),
    "swp x0, x30, [x1]": (0xF820803E, 30),
    "ldar x30, [x0]": (0xC8DFFC1E, 30),
    "ldapr x30, [x0]": (0xF8BFC01E, 30),
    "ldapur x30, [x0]": (0xD940001E, 30),
    "ldraa x29, [x0]": (0xF820041D, 29),
    "ldraa x0, [x29, #8]!": (0xF8201FA0, 29),
    "ld64b x22, [x0]": (0xF83FD016, 29),
    "stg x0, [x29], #16": (0xD92017A0, 29),
    "mrs x30, sp_el0": (0xD538411E, 30),
    "sysl x29, #0, c7, c0, #0": (0xD528701D, 29),
    "ld1 {v0.16b}, [x29], #16": (0x4CDF73A0, 29),
    "st1 {v0.b}[0], [x30], x1": (0x0D8103C0, 30),
    "fmov x29, d0": (0x9E66001D, 29),
    "fcvtzs x30, s0": (0x9E38001E, 30),
    "fcvtzs x30, s0, #40": (0x9E18601E, 30),
    "umov x29, v0.d[0]": (0x4E083C1D, 29),
    "smov x30, v0.h[0]": (0x4E022C1E, 30),
    "cpyfp [x29]!, [x0]!, x1!": (0x1900043D, 29),
    "cpyfp [x1]!, [x0]!, x29!": (0x190007A1, 29),
    "cntb x30": (0x0420E3FE, 30),
}


@pytest.mark.parametrize("name", WRITES)
def test_other_uses_of_a_register_lose_what_it_held(name: str) -> None:
    word, register = WRITES[name]
    assert start((word, NOP), 1) == Start.UNKNOWN
    lost = register == 29
    assert start((STP, FRAME, word, NOP), 3) == (Start.UNKNOWN if lost else Start.FRAME)


KEEPS = {
    "cmp x29, x0": 0xEB0003BF,
    "ccmp x29, x30, #13, eq": 0xFA5E03AD,
    "str x29, [sp]": 0xF90003FD,
    "str x30, [sp, #-16]!": 0xF81F0FFE,
    "stp x29, x30, [sp, #16]": 0xA9017BFD,
    "ldr x0, [x29, #16]": 0xF9400BA0,
    "ldr x0, [x30]": 0xF94003C0,
    "ldr x0, [x29, x30]": 0xF87E6BA0,
    "str x30, [x0, x29]": 0xF83D681E,
    "ldr d29, [x0]": 0xFD40001D,
    "ldr q30, literal": 0x9C00001E,
    "ldr x0, literal, whose distance looks like registers": 0x581EF7A0,
    "ldp q29, q30, [x0]": 0xAD40781D,
    "msr sp_el0, x30": 0xD518411E,
    "cbz x29, .+4": 0xB400003D,
    "tbz x30, #0, .+4": 0x3600003E,
    "add v29.4s, v30.4s, v0.4s": 0x4EA087DD,
    "ld1 {v29.16b}, [x0]": 0x4C40701D,
    "fmadd d29, d30, d0, d1": 0x1F4007DD,
    "paciasp": 0xD503233F,
    "dmb ish": 0xD5033BBF,
    "mov sp, x29": 0x910003BF,
}


@pytest.mark.parametrize("name", KEEPS)
def test_reading_a_register_or_a_vector_of_its_number_keeps_it(name: str) -> None:
    word = KEEPS[name]
    assert start((word, NOP), 1) == Start.BARE
    assert start((STP, FRAME, word, NOP), 3) == Start.FRAME


@given(st.binary(max_size=64), st.integers(-8, 80))
def test_start_is_defined_for_any_bytes(text: bytes, offset: int) -> None:
    assert prologue.start(text, offset, range(len(text)).__contains__) in Start
