# SPDX-License-Identifier: MIT
"""Kinds of kernel stacks, and loads that produce them.

Each entry has a function, a load that calls it a thousand times within a few seconds even in an
emulated machine, and a predicate which proves that its stacks are of the kind meant.
"""

from __future__ import annotations

from workloads import bpf, files, interrupts, memory, modules, network, processes, scheduling
from workloads.surroundings import Surroundings

__all__ = ["ALL", "Surroundings"]

ALL: tuple[Surroundings, ...] = (
    *modules.ALL,
    *interrupts.ALL,
    *network.ALL,
    *scheduling.ALL,
    *memory.ALL,
    *files.ALL,
    *processes.ALL,
    *bpf.ALL,
)
