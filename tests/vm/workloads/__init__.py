# SPDX-License-Identifier: MIT
"""Surroundings that a kernel stack can have, and loads that make them occur at once.

Each entry names a function, a load under which it is called a thousand times within a few
seconds even in an emulated machine, and what its stacks must look like to prove that they come
from the surroundings meant.
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
