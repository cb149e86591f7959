# SPDX-License-Identifier: MIT
"""What every report reads: stacks with their counts; plain data, no kernel, no drawing."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from kwalk.errors import KwalkError
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count
from kwalk.support.text import counted, plural

MOST = 1 << 63
"""Counts of a profile add up to less than this, and so do the numbers of its ledger."""
MOST_CALLS = 1 << 62
"""The calls that sampled counts stand for add up to less than this."""
MOST_SECONDS = 1 << 33
"""Profiles last less than this: times in nanoseconds fit into 64 bits."""


class BeyondLimits(KwalkError, ValueError):
    """Numbers that no profile, and no recording, can hold."""


@dataclass
class Timeline:
    """When it was counted: rows in columns, for there can be a million of them.

    :ivar ends: When each interval ended, in seconds since the capture began; they follow each
        other without gaps.
    :ivar intervals: For each row, the index of its interval.
    :ivar counts: For each row, the index of its count in ``ProfileData.counts``.
    :ivar numbers: For each row, how many events were counted then.
    """

    ends: list[float] = field(default_factory=list)
    intervals: array[int] = field(default_factory=lambda: array("I"))
    counts: array[int] = field(default_factory=lambda: array("I"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over (index of the interval, index of the count, number)."""
        return zip(self.intervals, self.counts, self.numbers, strict=True)

    def only(self, wanted: Callable[[int], bool]) -> Timeline:
        """Return it with the rows of some counts only.

        :param wanted: Whether the count at this index is one of them.
        """
        kept = [wanted(index) for index in self.counts]
        columns = (self.intervals, self.counts, self.numbers)
        return Timeline(
            self.ends, *(array(column.typecode, compress(column, kept)) for column in columns)
        )

    @classmethod
    def one_interval(cls, counts: Sequence[Count], seconds: float) -> Timeline:
        """Return the timeline of counts that were made in one interval."""
        size = len(counts)
        numbers = array("q", [count.count for count in counts])
        return cls([seconds], array("I", [0]) * size, array("I", range(size)), numbers)

    def totals(self) -> list[int]:
        """Return how many events were counted in each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.numbers, strict=True):
            totals[interval] += number
        return totals


def _told(number: float) -> str:
    """Return a number as text, however large it is: Python writes none of thousands of digits."""
    if isinstance(number, int):
        return f"{number:,}" if abs(number) < MOST << 64 else "more than 2^127"
    return f"{number:.4g}"


def check_numbers(ledger: Ledger) -> None:
    """See to it that the numbers of a ledger fit into 63 bits.

    :raises KwalkError: if one does not.
    """
    lost = sum(map(abs, ledger.causes.values()))
    for name, number in (("hits", ledger.hits), ("recorded", ledger.recorded), ("lost", lost)):
        if not -MOST < number < MOST:
            raise BeyondLimits(
                f"the ledger's {name} come to {_told(number)}",
                f"A recording holds less than 2^63 ({MOST:,}).",
            )


def kinds_of(counts: Iterable[Count]) -> set[str]:
    """Return by what counts of one stack are told apart: kinds of groups, or ``none``."""
    return {count.group.kind if count.group else "none" for count in counts}


@dataclass(repr=False)
class ProfileData:
    """Stacks with their counts, and how they were captured.

    :ivar counts: The rarest first; ahead of them what stands for others, where that was made of
        them (``report.top_n``).
    :ivar timeline: Empty where nothing was recorded by the second.
    :ivar facts: About the machine, its kernel and the command line; ready for JSON.
    """

    counts: list[Count]
    summary: Summary
    timeline: Timeline = field(default_factory=Timeline)
    facts: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Count]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def calls(self) -> float:
        """How many calls all of these stand for."""
        return sum(count.calls for count in self.counts)

    @property
    def seconds(self) -> float:
        """How long it took; 0 where that is not known."""
        return self.timeline.ends[-1] if self.timeline.ends else self.summary.seconds or 0.0

    def checked_timeline(self) -> Timeline:
        """Return the timeline, whose rows add up to the counts; empty where none was recorded.

        :raises KwalkError: if they do not.
        """
        timeline = self.timeline
        if not timeline.ends and not len(timeline):
            return timeline
        left = [count.count for count in self.counts]
        for interval, index, number in timeline.rows():
            if interval >= len(timeline.ends) or index >= len(left):
                raise BeyondLimits("the timeline has a row of no interval, or of no count")
            if number < 0:
                raise BeyondLimits(f"the timeline has a row of {number:,} {self.summary.unit}")
            left[index] -= number
        for count, number in zip(self.counts, left, strict=True):
            if number:
                raise BeyondLimits(
                    f"the timeline holds {count.count - number:,} of the {count.count:,} "
                    f"{self.summary.unit} of a stack",
                    "Give it rows for all of them, or none: Timeline().",
                )
        return timeline

    def check(self) -> None:
        """See to it that all numbers are ones that a recording can hold.

        :raises KwalkError: if one is not.
        """
        check_numbers(self.summary.ledger)
        numbers = [count.count for count in self.counts]
        if not all(type(number) is int for number in numbers):
            raise BeyondLimits("a count is no whole number", "Give an int for each.")
        if min(numbers, default=0) < 0 or sum(numbers) >= MOST:
            raise BeyondLimits(
                f"the counts add up to {_told(sum(numbers))}, or one is below 0",
                f"A recording holds less than 2^63 in all ({MOST:,}).",
            )
        calls = [count.scaled for count in self.counts if count.scaled is not None]
        if not all(isinstance(each, int | float) and each >= 0 for each in calls):
            raise BeyondLimits("the calls that a count stands for are no number of them")
        if sum(calls) >= MOST_CALLS:
            raise BeyondLimits(
                f"the counts stand for {_told(sum(calls))} calls",
                f"A recording holds less than 2^62 in all ({MOST_CALLS:,}).",
            )
        seconds = self.summary.seconds
        if seconds is not None and not 0 <= seconds < MOST_SECONDS:
            raise BeyondLimits(
                f"hits were counted for {_told(seconds)} seconds",
                f"Times are 0 or more, and below 2^33 seconds ({MOST_SECONDS:,}).",
            )
        before = 0.0
        for end in self.timeline.ends:
            if not before <= end < MOST_SECONDS:
                raise BeyondLimits(
                    f"an interval ends after {_told(end)} seconds, the one before it after "
                    f"{before:g}",
                    f"Times grow, and stay below 2^33 seconds ({MOST_SECONDS:,}).",
                )
            before = end

    def __repr__(self) -> str:
        calls, stacks = counted(round(self.calls), self.summary.unit), plural(len(self), "stack")
        length = f", {self.seconds:.1f} s" if self.seconds else ""
        return f"<Profile of {self.summary.function}: {calls}, {stacks}{length}>"
