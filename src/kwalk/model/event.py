# SPDX-License-Identifier: MIT
"""Single hits, as a capture yields them: plain data."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, overload

from kwalk.model.stack import Stack
from kwalk.support.columns import look_up


class Who(NamedTuple):
    """CPU and current task of a hit; in softirqs and interrupts, the task that was interrupted.

    :ivar cpu: Number of the CPU, from 0.
    :ivar tgid: Thread group id (user space: pid) in kwalk's PID namespace; None where the task has
        none there.
    :ivar pid: Thread id (user space: tid), likewise.
    :ivar comm: ``current->comm``.
    """

    cpu: int
    tgid: int | None
    pid: int | None
    comm: str


@dataclass(slots=True)
class Event:
    """One hit with its stack; ``time_ns`` is CLOCK_MONOTONIC."""

    time_ns: int
    who: Who
    stack: Stack


@dataclass(slots=True, eq=False)
class Call:
    """Stack and task of a hit, without its time.

    Equal calls of one capture are one object, so reports may cache by identity. Brief
    records hold stacks only: their calls have no ``who``.
    """

    stack: Stack
    who: Who | None = None


class CallColumn(Sequence[Call]):
    """Calls of events by key, looked up when they are needed.

    :param calls: Calls by key; what a key stands for does not change any more.
    :param keys: Key of each event.
    """

    def __init__(self, calls: Sequence[Call], keys: Sequence[int]) -> None:
        self._calls = calls
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, at: int) -> Call: ...
    @overload
    def __getitem__(self, at: slice) -> CallColumn: ...
    def __getitem__(self, at: int | slice) -> Call | CallColumn:
        if isinstance(at, slice):
            return CallColumn(self._calls, self._keys[at])
        return self._calls[self._keys[at]]

    def __iter__(self) -> Iterator[Call]:
        return iter(look_up(self._calls, self._keys))


class Clocks(Sequence[bytes]):
    """Times of day of events as text, ``HH:MM:SS.mmmuuu`` and a space, at equal distances.

    :param memory: Their records.
    :param size: Bytes of a record, a multiple of 8.
    :param offset: The text's in a record, in bytes, a multiple of 8.
    """

    BYTES = 16
    _BLOCK = 64

    def __init__(self, memory: memoryview, size: int, offset: int) -> None:
        self._memory = memory
        self._size = size
        self._offset = offset

    def __len__(self) -> int:
        return len(self._memory) // self._size

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Clocks: ...
    def __getitem__(self, at: int | slice) -> bytes | Clocks:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            part = self._memory[start * self._size : max(start, stop) * self._size]
            return Clocks(part, self._size, self._offset)
        begin = range(len(self))[at] * self._size + self._offset
        return bytes(self._memory[begin : begin + self.BYTES])

    def __iter__(self) -> Iterator[bytes]:
        # Many records at once, since each call of the unpacker has its price.
        one = f"{self._offset}x{self.BYTES}s{self._size - self._offset - self.BYTES}x"
        split = (len(self) - len(self) % self._BLOCK) * self._size
        many = struct.iter_unpack("<" + one * self._BLOCK, self._memory[:split])
        return chain(
            chain.from_iterable(many),
            struct.unpack("<" + one * (len(self) % self._BLOCK), self._memory[split:]),
        )

    def words(self) -> tuple[memoryview, memoryview]:
        """Return the first halves of all texts, and the second ones, each as 64-bit words."""
        words = self._memory.cast("Q")
        first, step = self._offset // 8, self._size // 8
        return words[first::step], words[first + 1 :: step]


@dataclass(slots=True)
class Batch:
    """A run of events, as columns; brief records have ``calls`` only.

    :ivar calls: Stack and task of each event.
    :ivar times: CLOCK_MONOTONIC, in nanoseconds.
    :ivar clocks: Time of day as text: ``HH:MM:SS.mmmuuu`` and a space.
    :ivar texts: A report's text of each call, where the reader was told to make them.
    """

    calls: Sequence[Call]
    times: Sequence[int] = ()
    clocks: Sequence[bytes] = ()
    texts: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.calls)

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Return the events of several batches, one after the other."""
        return cls(
            [call for batch in batches for call in batch.calls],
            [time_ns for batch in batches for time_ns in batch.times],
            [clock for batch in batches for clock in batch.clocks],
            [text for batch in batches for text in batch.texts],
        )

    def part(self, start: int, stop: int | None = None) -> Batch:
        """Return a slice of the events."""
        columns = (self.calls, self.times, self.clocks, self.texts)
        return Batch(*(column[start:stop] for column in columns))  # type: ignore[arg-type]

    def events(self) -> Iterator[Event]:
        """Iterate over the events that have a task and a time."""
        for time_ns, call in zip(self.times, self.calls, strict=False):
            if call.who:
                yield Event(time_ns, call.who, call.stack)
