# SPDX-License-Identifier: MIT
"""Single hits, as a capture yields them: plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kwalk.model.stack import Stack


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


@dataclass(slots=True)
class Batch:
    """A run of events, as columns; brief records have ``calls`` only.

    :ivar calls: Stack and task of each event.
    :ivar times: CLOCK_MONOTONIC, in nanoseconds.
    :ivar clocks: Time of day as text: ``HH:MM:SS.mmmuuu`` and a space.
    """

    calls: Sequence[Call]
    times: Sequence[int] = ()
    clocks: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.calls)

    def part(self, start: int, stop: int | None = None) -> Batch:
        """Return a slice of the events."""
        columns = (self.calls, self.times, self.clocks)
        return Batch(*(column[start:stop] for column in columns))  # type: ignore[arg-type]

    def events(self) -> Iterator[Event]:
        """Iterate over the events that have a task and a time."""
        for time_ns, call in zip(self.times, self.calls, strict=False):
            if call.who:
                yield Event(time_ns, call.who, call.stack)
