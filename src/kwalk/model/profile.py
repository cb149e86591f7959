# SPDX-License-Identifier: MIT
"""Profiles: counts by stack, timeline, summary and facts, which every report reads. Plain data."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from kwalk.errors import KwalkError
from kwalk.model.counts import Counts
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count
from kwalk.support.text import counted, plural

MOST = 1 << 63
"""Exclusive limit of the sum of a profile's counts, and of each number of its ledger."""
MOST_CALLS = 1 << 62
"""Exclusive limit of the sum of scaled calls."""
MOST_SECONDS = 1 << 33
"""Exclusive limit of a profile's length: nanoseconds fit into 64 bits."""


class BeyondLimits(KwalkError, ValueError):
    """Numbers beyond the limits of profiles and recordings."""


@dataclass
class Timeline:
    """Hits by interval and count: rows as columns, since there can be a million of them.

    :ivar ends: End of each interval, in seconds since the capture began; intervals have no gaps.
    :ivar intervals: For each row, the index of its interval.
    :ivar counts: For each row, the index of its count in ``ProfileData.counts``.
    :ivar numbers: For each row, the number of recorded hits.
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

    def only(self, wanted: Sequence[object]) -> Timeline:
        """Return the timeline of some counts; its rows index the same counts as before.

        :param wanted: For each count, whether to keep its rows.
        """
        kept = list(map(wanted.__getitem__, self.counts))
        columns = (self.intervals, self.counts, self.numbers)
        return Timeline(
            self.ends, *(array(column.typecode, compress(column, kept)) for column in columns)
        )

    @classmethod
    def one_interval(cls, counts: Sequence[Count], seconds: float) -> Timeline:
        """Return a timeline that has all counts in one interval of this length."""
        size = len(counts)
        numbers = array("q", Counts.of(counts).numbers)
        return cls([seconds], array("I", [0]) * size, array("I", range(size)), numbers)

    def totals(self) -> list[int]:
        """Return the number of recorded hits of each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.numbers, strict=True):
            totals[interval] += number
        return totals


def _told(number: float) -> str:
    """Return a number as text, also one of more digits than Python prints."""
    if isinstance(number, int):
        return f"{number:,}" if abs(number) < MOST << 64 else "more than 2^127"
    return f"{number:.4g}"


def check_numbers(ledger: Ledger) -> None:
    """Check that the numbers of a ledger fit into 63 bits.

    :raises BeyondLimits: if one does not.
    """
    lost = sum(map(abs, ledger.causes.values()))
    for name, number in (("hits", ledger.hits), ("recorded", ledger.recorded), ("lost", lost)):
        if not -MOST < number < MOST:
            raise BeyondLimits(
                f"the ledger has {_told(number)} {name}",
                f"A recording holds less than 2^63 ({MOST:,}).",
            )


def kinds_of(counts: Sequence[Count]) -> set[str]:
    """Return the kinds of groups that counts have; ``none`` for counts without one."""
    return {group.kind if group else "none" for group in Counts.of(counts).met_groups}


@dataclass(repr=False)
class ProfileData:
    """Counts by stack and group, and how they were captured.

    :ivar counts: Counts, the rarest first; ahead of them the sums that ``report.top_n`` makes.
        Captures and recordings have ``Counts``.
    :ivar timeline: Hits by interval; empty where none was recorded.
    :ivar facts: Machine, kernel and command line, as JSON-ready data.
    """

    counts: Sequence[Count]
    summary: Summary
    timeline: Timeline = field(default_factory=Timeline)
    facts: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Count]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def calls(self) -> float:
        """Sum of ``Count.calls``."""
        return sum(self.columns.calls)

    @property
    def columns(self) -> Counts:
        """``counts`` as columns."""
        return Counts.of(self.counts)

    @property
    def sampled(self) -> bool:
        """Whether a count has scaled calls."""
        return self.columns.scaled is not None

    @property
    def seconds(self) -> float:
        """Length of the capture; 0 where it is not known."""
        return self.timeline.ends[-1] if self.timeline.ends else self.summary.seconds or 0.0

    def checked_timeline(self) -> Timeline:
        """Return the timeline after a check; empty where none was recorded.

        :raises BeyondLimits: if its rows do not add up to the counts.
        """
        timeline = self.timeline
        if not timeline.ends and not len(timeline):
            return timeline
        # Whole columns: there can be a million rows.
        intervals, indices, numbers = timeline.intervals, timeline.counts, timeline.numbers
        if len(intervals) != len(numbers) or len(indices) != len(numbers):
            raise BeyondLimits("the columns of the timeline differ in length")
        left = list(self.columns.numbers)
        last = max(intervals, default=-1)
        if last >= len(timeline.ends) or max(indices, default=-1) >= len(left):
            raise BeyondLimits("a timeline row indexes no interval or no count")
        if (lowest := min(numbers, default=0)) < 0:
            raise BeyondLimits(f"a timeline row has {lowest:,} {self.summary.unit}")
        for index, number in zip(indices, numbers, strict=True):
            left[index] -= number
        if any(left):
            index = next(index for index, number in enumerate(left) if number)
            count = self.columns.numbers[index]
            raise BeyondLimits(
                f"the timeline holds {count - left[index]:,} of the {count:,} "
                f"{self.summary.unit} of a stack",
                "Give it rows for all of them, or none: Timeline().",
            )
        return timeline

    def check(self) -> None:
        """Check that a recording can hold all numbers.

        :raises BeyondLimits: if it cannot hold one.
        """
        check_numbers(self.summary.ledger)
        numbers = self.columns.numbers
        if not all(type(number) is int for number in numbers):
            raise BeyondLimits("a count is not a whole number", "Give ints.")
        if min(numbers, default=0) < 0 or sum(numbers) >= MOST:
            raise BeyondLimits(
                f"the counts add up to {_told(sum(numbers))}, or one is below 0",
                f"A recording holds less than 2^63 in all ({MOST:,}).",
            )
        calls = [scaled for scaled in self.columns.scaled or () if scaled is not None]
        if not all(isinstance(each, int | float) and each >= 0 for each in calls):
            raise BeyondLimits("the scaled calls of a count are not a number, or below 0")
        if sum(calls) >= MOST_CALLS:
            raise BeyondLimits(
                f"the scaled calls add up to {_told(sum(calls))}",
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
