# SPDX-License-Identifier: MIT
"""Entry programs for generated ones (``kwalk/hot/``): which probes have them, and their map."""

from __future__ import annotations

from kwalk.abi import HOT_LEAVES, Method, Place
from kwalk.options.probe import ProbeOptions
from kwalk.probe.attach import HOT_PROGRAMS
from kwalk.probe.selection import Selection

LEAF_BYTES = 4


def wants(way: str, selection: Selection, options: ProbeOptions, method: Method) -> bool:
    """Return whether to load the entry program: for one function's entry, by the manual method.

    Not for sampled hits (``ProbeOptions.chance``), whose cost the program measures, nor with
    filters, which are to cost a refused hit as little as possible.
    """
    return (
        options.fast
        and method == Method.MANUAL
        and options.chance is None
        and not options.filters
        and way in HOT_PROGRAMS
        and selection.place == Place.ENTRY
        and len(selection.targets) == 1
    )


def rows(cpus: int) -> int:
    """Return the number of CPUs that the map ``leaves`` has room for, a power of two."""
    return 1 << (cpus - 1).bit_length()


def leaves_bytes(cpus: int) -> int:
    """Return the size of the map ``leaves`` for this many possible CPUs."""
    return rows(cpus) * HOT_LEAVES * LEAF_BYTES


def leaf_at(cpu: int, number: int) -> int:
    """Return where, in that map, a CPU's node of a stack is."""
    return (cpu * HOT_LEAVES + number) * LEAF_BYTES
