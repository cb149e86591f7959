# SPDX-License-Identifier: MIT
"""Hits that are compared with the kernel's unwinder, and their records."""

from __future__ import annotations

from loaded import Loaded
from objects import BPF, TEXT
from worlds import World

from kwalk.abi import BRIEF_BYTES, EVENT

TRACER = [BPF + 0x100010 + 0x100 * n for n in range(7)]
NEW = TEXT + 0x3F00  # code that is in no stack


def compared(world: World, **settings: int) -> Loaded:
    settings = {"func": world.func.start, "verify": 1, "slow": 1, **settings}
    return Loaded(world.kernel, **settings)


def brief(loaded: Loaded) -> list[dict[str, int]]:
    """Return the members of all brief records; the others are 0."""
    records = loaded.records(BRIEF_BYTES)
    return [EVENT.unpack(record[8:].ljust(EVENT.size, b"\0")) for record in records]


def flags(loaded: Loaded) -> list[int]:
    """Return the flags of all records."""
    return [int(record["flags"]) for record in brief(loaded)]
