# SPDX-License-Identifier: MIT
"""Single calls, as a capture yields them: plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kwalk.model.stack import Stack


class Who(NamedTuple):
    """Where a call happened: in softirqs and interrupts the task is merely the one that ran.

    :ivar cpu: Of the CPU, counted from 0.
    :ivar tgid: Number of the process, which user space calls its pid, in kwalk's PID namespace;
        None where the task has none there.
    :ivar pid: Number of the thread, as the kernel calls it; user space says tid.
    :ivar comm: Name of the thread.
    """

    cpu: int
    tgid: int | None
    pid: int | None
    comm: str


@dataclass(slots=True)
class Event:
    """One call of the traced function; ``time_ns`` is CLOCK_MONOTONIC."""

    time_ns: int
    who: Who
    stack: Stack


@dataclass(slots=True, eq=False)
class Call:
    """By which stack the function was called, and where; without the time.

    Equal calls of one capture are one object, so reports may cache by identity. ``who`` is None
    where only stacks were asked for.
    """

    stack: Stack
    who: Who | None = None


@dataclass(slots=True)
class Batch:
    """Events in a row, a column each; all but ``calls`` are empty where only stacks were asked for.

    :ivar calls: What was called, by whom.
    :ivar times: CLOCK_MONOTONIC, in nanoseconds.
    :ivar clocks: Time of day as text: ``HH:MM:SS.mmmuuu`` and a space.
    """

    calls: Sequence[Call]
    times: Sequence[int] = ()
    clocks: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.calls)

    def part(self, start: int, stop: int | None = None) -> Batch:
        """Return some of the events, as a slice."""
        columns = (self.calls, self.times, self.clocks)
        return Batch(*(column[start:stop] for column in columns))  # type: ignore[arg-type]

    def events(self) -> Iterator[Event]:
        """Iterate over the events, if they have a time."""
        for time_ns, call in zip(self.times, self.calls, strict=False):
            if call.who:
                yield Event(time_ns, call.who, call.stack)
