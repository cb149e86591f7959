# SPDX-License-Identifier: MIT
"""Numbers that may be chosen: their bounds, and what they are where nobody chooses."""

from __future__ import annotations

import os
from typing import NamedTuple

from kwalk.abi import MAX_FRAMES


class Limit(NamedTuple):
    """Whole numbers that are taken.

    :ivar name: Of the choice (``options.keywords.Choices``).
    :ivar default: What is taken where nothing is given; 0 where that is nothing.
    """

    name: str
    least: int
    most: int
    default: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.least <= value <= self.most


# Frames that a CPU's tree has room for at least: each CPU has a tree of its own.
NODES_PER_CPU = 1 << 13
_FEWEST_NODES, _MOST_NODES = 1 << 17, 1 << 23


def nodes_for(cpus: int) -> int:
    """Return for how many frames there is room by default, on a machine of so many CPUs."""
    return min(max(_FEWEST_NODES, cpus * NODES_PER_CPU), _MOST_NODES)


DEPTH = Limit("depth", 2, MAX_FRAMES, MAX_FRAMES)
# The kernel takes no value of a map of 2 GiB or more.
NODES = Limit("nodes", 1, _MOST_NODES, nodes_for(os.cpu_count() or 1))
STACK_ENTRIES = Limit("stack_entries", 1, 1 << 20, 1 << 14)
RING_MIB = Limit("ring_mib", 1, 1 << 10, 16)
FREQUENCY = Limit("frequency", 1, 10_000, 0)
SAMPLE = Limit("sample", 1, 1 << 30, 1)
VERIFY = Limit("verify", 0, 1 << 30, 0)
LAB_CPUS = Limit("cpus", 1, 999, min(2, os.cpu_count() or 1))


def is_power_of_two(value: int) -> bool:
    """Whether a size is one that a ring can have."""
    return value > 0 and not value & (value - 1)
