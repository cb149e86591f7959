# SPDX-License-Identifier: MIT
"""Filter state of each CPU, and bit maps of wanted tasks (``bpf/trace/filter.bpf.h``)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable

from kwalk.abi import GATE, GATES, TASKS
from kwalk.libbpf.map import Map

_U64 = struct.Struct("<Q")
_CLOSED = struct.calcsize("<" + GATE.codes[0])
_WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE
SET_BYTES = TASKS // 8


class Gates:
    """Per-CPU filter state, ``struct kw_gate``.

    :param gates: The loaded map; None if there are no filters.
    :param cpus: Number of possible CPUs.
    """

    def __init__(self, gates: Map | None, cpus: int) -> None:
        self._places = range(0, cpus * GATE.size, GATE.size)
        self._memory = None
        if gates:
            self._memory = mmap.mmap(gates.fd, GATES * GATE.size, mmap.MAP_SHARED, _WRITABLE)

    def filtered(self) -> int:
        """Return the number of filtered hits."""
        if not self._memory:
            return 0
        return sum(_U64.unpack_from(self._memory, place)[0] for place in self._places)

    def shut(self, cpus: Iterable[int]) -> None:
        """Filter every hit on these CPUs."""
        if self._memory:
            for cpu in cpus:
                _U64.pack_into(self._memory, self._places[cpu] + _CLOSED, 1)

    def close(self) -> None:
        """Unmap the state."""
        if self._memory:
            self._memory.close()


def put_tasks(tasks: Map, numbers: Iterable[int]) -> None:
    """Add tasks to a bit map, before or while programs read it."""
    with mmap.mmap(tasks.fd, SET_BYTES, mmap.MAP_SHARED, _WRITABLE) as bits:
        for number in numbers:
            bits[number // 8] |= 1 << number % 8


def drop_tasks(tasks: Map, numbers: Iterable[int]) -> None:
    """Remove tasks from a bit map while programs read it; the caller must be the only writer."""
    with mmap.mmap(tasks.fd, SET_BYTES, mmap.MAP_SHARED, _WRITABLE) as bits:
        for number in numbers:
            bits[number // 8] &= ~(1 << number % 8) & 0xFF
