# SPDX-License-Identifier: MIT
"""Rules of frames as the programs keep them (``kw_node.rule``): bpf/arch/x86/orc.bpf.h."""

from __future__ import annotations

import enum
from functools import cache
from typing import NamedTuple

_CFA_BITS, _BP_BITS = 12, 11


class Cfa(enum.IntEnum):
    """``enum kw_cfa``: base of the CFA."""

    UNKNOWN = 0
    END = 1
    SP = 2
    BP = 3
    SP_DEREF = 4
    BP_DEREF = 5
    R10 = 6
    R13 = 7
    DI = 8
    DX = 9


class SavedBp(enum.IntEnum):
    """``enum kw_bp``: place of the caller's BP."""

    SAME = 0
    CFA = 1
    BP = 2


class Below(enum.IntEnum):
    """``enum kw_frame``: contents of the stack below the CFA."""

    CALL = 0
    REGS = 1
    PARTIAL = 2


class Rule(NamedTuple):
    """A decoded rule; offsets in bytes."""

    cfa: Cfa
    cfa_off: int
    bp: SavedBp
    bp_off: int
    frame: Below


@cache
def decode(rule: int) -> Rule:
    """Decode a rule; a kernel has some hundreds of different ones."""
    return Rule(
        Cfa(rule >> 23 & 15),
        _signed(rule, _CFA_BITS) * 8,
        SavedBp(rule >> 27 & 3),
        _signed(rule >> _CFA_BITS, _BP_BITS) * 8,
        Below(rule >> 29 & 3),
    )


def _signed(number: int, bits: int) -> int:
    low = number & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low
