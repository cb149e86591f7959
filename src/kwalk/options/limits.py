# SPDX-License-Identifier: MIT
"""Bounds and defaults of numeric options."""

from __future__ import annotations

import os
from typing import NamedTuple

from kwalk.abi import MAX_FRAMES


class Limit(NamedTuple):
    """Bounds of a whole number, both inclusive.

    :ivar name: Keyword of ``options.keywords.Choices``.
    :ivar default: Default; 0 may stand for none.
    """

    name: str
    least: int
    most: int
    default: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.least <= value <= self.most


# Minimum size of the tree that each CPU has.
NODES_PER_CPU = 1 << 13
_FEWEST_NODES, _MOST_NODES = 1 << 17, 1 << 23


def nodes_for(cpus: int) -> int:
    """Return the default size of the calling-context tree in nodes."""
    return min(max(_FEWEST_NODES, cpus * NODES_PER_CPU), _MOST_NODES)


DEPTH = Limit("depth", 2, MAX_FRAMES, MAX_FRAMES)
# A map value must be smaller than 2 GiB.
NODES = Limit("nodes", 1, _MOST_NODES, nodes_for(os.cpu_count() or 1))
STACK_ENTRIES = Limit("stack_entries", 1, 1 << 20, 1 << 14)
RING_MIB = Limit("ring_mib", 1, 1 << 10, 16)
FREQUENCY = Limit("frequency", 1, 10_000, 0)
SAMPLE = Limit("sample", 1, 1 << 30, 1)
VERIFY = Limit("verify", 0, 1 << 30, 0)
LAB_CPUS = Limit("cpus", 1, 999, min(2, os.cpu_count() or 1))


def is_power_of_two(value: int) -> bool:
    """Whether a size is a power of two, as the BPF ring buffer requires."""
    return value > 0 and not value & (value - 1)
