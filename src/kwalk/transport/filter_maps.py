# SPDX-License-Identifier: MIT
"""What filters refused, CPU by CPU, and the sets of tasks that they look into (filter.bpf.h)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable

from kwalk.abi import GATE, GATES, TASKS
from kwalk.libbpf.object import Map

_U64 = struct.Struct("<Q")
_CLOSED = struct.calcsize("<" + GATE.codes[0])
_WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE
SET_BYTES = TASKS // 8


class Gates:
    """A gate for each CPU.

    :param gates: The loaded map of them; None where there is no filter, so that nothing is refused.
    :param cpus: Possible CPUs.
    """

    def __init__(self, gates: Map | None, cpus: int) -> None:
        self._places = range(0, cpus * GATE.size, GATE.size)
        self._memory = None
        if gates:
            self._memory = mmap.mmap(gates.fd, GATES * GATE.size, mmap.MAP_SHARED, _WRITABLE)

    def filtered(self) -> int:
        """Return how many hits were refused so far."""
        if not self._memory:
            return 0
        return sum(_U64.unpack_from(self._memory, place)[0] for place in self._places)

    def shut(self, cpus: Iterable[int]) -> None:
        """Have every hit of these CPUs refused."""
        if self._memory:
            for cpu in cpus:
                _U64.pack_into(self._memory, self._places[cpu] + _CLOSED, 1)

    def close(self) -> None:
        """Let the memory go."""
        if self._memory:
            self._memory.close()


def put_tasks(tasks: Map, numbers: Iterable[int]) -> None:
    """Put tasks into a set, before or while programs look at it."""
    with mmap.mmap(tasks.fd, SET_BYTES, mmap.MAP_SHARED, _WRITABLE) as bits:
        for number in numbers:
            bits[number // 8] |= 1 << number % 8


def drop_tasks(tasks: Map, numbers: Iterable[int]) -> None:
    """Take tasks out of a set while programs look at it; nobody else may change it meanwhile."""
    with mmap.mmap(tasks.fd, SET_BYTES, mmap.MAP_SHARED, _WRITABLE) as bits:
        for number in numbers:
            bits[number // 8] &= ~(1 << number % 8) & 0xFF
