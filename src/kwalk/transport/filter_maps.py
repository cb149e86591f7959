# SPDX-License-Identifier: MIT
"""Filter state of each CPU, and bit maps of wanted tasks (``bpf/trace/filter.bpf.h``)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable

from kwalk.abi import GATE, GATES, TASKS
from kwalk.libbpf.map import Map, store

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
        self._shut: set[int] = set()
        self._levels: list[mmap.mmap] = []
        if gates:
            self.add(gates)

    def add(self, gates: Map) -> None:
        """Add the state of another level of programs; it is ``shut`` for the same CPUs."""
        memory = mmap.mmap(gates.fd, GATES * GATE.size, mmap.MAP_SHARED, _WRITABLE)
        self._levels.append(memory)
        self._shut_in(memory, self._shut)

    def filtered(self) -> int:
        """Return the number of filtered hits, of all levels."""
        return sum(map(self.filtered_by, range(len(self._levels))))

    def filtered_by(self, level: int) -> int:
        """Return the number of hits that a level filtered; 0 without filters."""
        if level >= len(self._levels):
            return 0
        memory = self._levels[level]
        return sum(_U64.unpack_from(memory, place)[0] for place in self._places)

    def shut(self, cpus: Iterable[int]) -> None:
        """Filter every hit on these CPUs."""
        self._shut |= set(cpus)
        for memory in self._levels:
            self._shut_in(memory, self._shut)

    def _shut_in(self, memory: mmap.mmap, cpus: Iterable[int]) -> None:
        for cpu in cpus:
            store(memory, self._places[cpu] + _CLOSED, 1, 8)

    def close(self) -> None:
        """Unmap the state."""
        for memory in self._levels:
            memory.close()


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
