# SPDX-License-Identifier: MIT
"""Which ORC format a kernel speaks, from bytes of its own tables."""

from __future__ import annotations

import struct

import pytest

from kwalk.arch import UnknownFormat
from kwalk.arch.x86_64.orc import (
    SINCE_7_1,
    UNTIL_7_0,
    OrcFormat,
    find_format,
    read_format,
)

HASH_6_4 = bytes.fromhex("fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24")
HASH_7_1 = bytes.fromhex("137c36ad7627c4dd55932176bb0ecdbd5041fc82")


def entry(sp_offset: int, bp_offset: int, sp_reg: int, bp_reg: int, rest: int) -> int:
    """The 8 bytes at a struct orc_entry of 6 bytes, and 2 bytes of what lies behind it."""
    packed = struct.pack("<hhBB", sp_offset, bp_offset, sp_reg | bp_reg << 4, rest)
    return int.from_bytes(packed + b"\xff\xff", "little")


# orc_fp_entry: CFA = BP + 16, BP saved at previous SP - 16; null_orc_entry: CFA = SP + 8.
# The registers' numbers are those of arch/x86/include/asm/orc_types.h at 5.10, 6.12 and 7.1; the
# last byte is type, signal and end, which moved in 6.3 and 6.4.
V5_10 = entry(16, -16, 4, 1, 0), entry(8, 0, 5, 0, 0)
V6_12 = entry(16, -16, 4, 1, 2), entry(8, 0, 5, 0, 2)
V7_1 = entry(16, -16, 4, 8, 2), entry(8, 0, 3, 0, 2)
NO_HEADER = bytes(20)


def test_orc_format_is_read_from_two_known_entries() -> None:
    assert read_format(*V5_10) == read_format(*V6_12) == UNTIL_7_0 == OrcFormat(5, 1)
    assert read_format(*V7_1) == SINCE_7_1 == OrcFormat(3, 8)


@pytest.mark.parametrize(
    ("entries", "header", "expected"),
    [
        (V5_10, NO_HEADER, UNTIL_7_0),
        (V6_12, HASH_6_4, UNTIL_7_0),
        (V7_1, HASH_7_1, SINCE_7_1),
        # Without CONFIG_KALLSYMS_ALL the two entries are not found; the hash says it all.
        ((0, 0), HASH_6_4, UNTIL_7_0),
        ((0, 0), HASH_7_1, SINCE_7_1),
    ],
)
def test_known_formats_are_walked(
    entries: tuple[int, int], header: bytes, expected: OrcFormat
) -> None:
    assert find_format(*entries, header) == expected


@pytest.mark.parametrize(
    ("entries", "header", "why"),
    [
        (V6_12, bytes(range(20)), r"^format hash 000102030405060708090a0b0c0d0e0f10111213$"),
        ((0, 0), bytes(range(20)), "^format hash 0001"),
        # Registers and hash of different kernels: one of the two was misread.
        (V6_12, HASH_7_1, r"SP=5, previous SP=1"),
        (V7_1, HASH_6_4, r"SP=3, previous SP=8"),
        # Neither entries nor a hash: nothing is known.
        ((0, 0), NO_HEADER, r"^register numbers SP=0, previous SP=0$"),
        # Numbers never seen together.
        ((V6_12[0], V7_1[1]), NO_HEADER, r"SP=3, previous SP=1"),
        ((V7_1[0], V6_12[1]), HASH_6_4, r"SP=5, previous SP=8"),
        ((V6_12[0], 0), HASH_6_4, r"SP=0, previous SP=1"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(
    entries: tuple[int, int], header: bytes, why: str
) -> None:
    with pytest.raises(UnknownFormat, match=why):
        find_format(*entries, header)
