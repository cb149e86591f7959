# SPDX-License-Identifier: MIT
"""Whether a function's frame is static: its record at a constant distance from SP at each call.

A compiled function makes its frame, with the record of FP and LR at a constant place in it, and
moves SP by constants, except where it allocates an array of variable size or switches to another
stack. Otherwise compilers keep SP the same on each way to a call, as unwind tables must describe it
by one rule. So it is enough that FP is the record's address at the call on all ways to it
(``prologue.py``), that all records are made at the same place, and that no word of the function
writes SP in another way. Encodings are of the Arm ARM, "A64 instruction set encoding".
"""

from __future__ import annotations

import struct

from kwalk.abi import Start
from kwalk.arch.aarch64 import prologue

_SP, _FP, _ZR = 31, 29, 31
# Instructions with SP as a destination: masks and values, without registers. "S" is clear.
_ADD_IMMEDIATE = (0x3F800000, 0x11000000)  # ADD, SUB
_DESTINATIONS = (
    (0x3F800000, 0x11000000),  # ADD, SUB of immediates
    (0xBFC00000, 0x91800000),  # ADDG, SUBG
    (0x3FE00000, 0x0B200000),  # ADD, SUB of extended registers
    (0x1F800000, 0x12000000),  # AND, ORR, EOR of immediates; ANDS has the zero register
    (0xFFE0FC00, 0x9AC01000),  # IRG
    (0xBFE0E000, 0x9A002000),  # ADDPT, SUBPT
    (0xFFA0F000, 0x04205000),  # ADDVL, ADDPL, ADDSVL, ADDSPL
)
_ANDS = (0x7F800000, 0x72000000)
# LD1 to LD4, ST1 to ST4 with a register added behind: the address may be in SP.
_POST_INDEXED = ((0xBFA00000, 0x0C800000), (0xBF800000, 0x0D800000))
_SELECT_SP = (0xFFFFF0FF, 0xD50040BF)  # MSR SPSel
_SET_FP = (0xFF8003FF, 0x910003FD)  # ADD x29, sp, #n


def _is(word: int, kind: tuple[int, int]) -> bool:
    return word & kind[0] == kind[1]


def changes_sp(word: int) -> bool:
    """Return whether an instruction writes SP otherwise than by a constant.

    Constants are added to SP itself, or to FP, which has the record's address.
    """
    low, base, added = word & 31, word >> 5 & 31, word >> 16 & 31
    if low == _SP and any(_is(word, kind) for kind in _DESTINATIONS) and not _is(word, _ANDS):
        by_constant = _is(word, _ADD_IMMEDIATE) and word >> 31
        return not (by_constant and base in (_SP, _FP))
    if base == _SP and any(_is(word, kind) for kind in _POST_INDEXED):
        return added != _ZR
    return _is(word, _SELECT_SP)


def is_static(code: bytes, offset: int) -> bool:
    """Return whether a frame is static at a return address.

    :param code: The function's bytes.
    :param offset: Offset of the return address in it.
    """
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    if len({word for word in words if _is(word, _SET_FP)}) != 1:
        return False
    # Most words do not name SP at all: in the place of a destination or of an address.
    if any(changes_sp(word) for word in words if word & 31 == _SP or word >> 5 & 31 == _SP):
        return False
    call = offset - 4
    within = range(len(code))
    return prologue.start(code, call, lambda at: at in within) == Start.FRAME
