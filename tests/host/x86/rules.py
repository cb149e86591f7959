# SPDX-License-Identifier: MIT
"""ORC rules, and their encoding in each layout (arch/x86/include/asm/orc_types.h)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from btf import Layout


class Orc(NamedTuple):
    """An ORC rule: how to find a frame's caller.

    :ivar type: ``call``, ``regs``, ``partial``, ``end``, or ``undefined``.
    :ivar sp: Base of the CFA: a register, ``sp_deref``, ``bp_deref``, ``undefined``.
    :ivar bp: Base of the caller's BP: ``undefined`` (unchanged), ``cfa``, or ``bp``.
    :ivar signal: The next frame was interrupted. Before 6.3 it is for all ``regs``.
    """

    type: str
    sp: str = "sp"
    sp_off: int = 8
    bp: str = "undefined"
    bp_off: int = 0
    signal: bool = False

    def encode(self, layout: Layout) -> bytes:
        """Return its 6 bytes in a table."""
        sp, bp = layout.registers[self.sp], layout.registers[self.bp]
        three = len(layout.frames) == 5
        rest = 0
        if three:
            rest = layout.frames[self.type] | self.signal << 3
        elif self.type in ("end", "undefined"):
            sp = 0
            end = int(self.type == "end")
            rest = end << (3 if layout.signal else 2)
        else:
            rest = layout.frames[self.type] | (self.signal << 2 if layout.signal else 0)
        return struct.pack("<hhBB", self.sp_off, self.bp_off, sp | bp << 4, rest)


END = Orc("end", "undefined", 0)
UNDEFINED = Orc("undefined", "undefined", 0)
ENTRY = Orc("call", "sp", 8)
FRAME = Orc("call", "bp", 16, "cfa", -16)
PUSHED = Orc("call", "sp", 16, "cfa", -16)
