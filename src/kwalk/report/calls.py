# SPDX-License-Identifier: MIT
"""Calls as whole numbers, for formats that have no others: of counts, over time, as bars.

Rounding keeps sums: after each number, the sum so far is that of the calls, rounded.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kwalk.model.profile import ProfileData, Timeline
from kwalk.model.stack import Count

if TYPE_CHECKING:
    from fractions import Fraction

MOST_BARS = 240


def whole(values: Iterable[float]) -> Iterator[int]:
    """Yield a whole number for each value, at most 1 away from it.

    The rest of a value that is rounded down is added to the next one.
    """
    total: Fraction | int = 0
    given = 0
    for value in values:
        # Most are whole; the others are added up exactly, where floats would drift.
        total += int(value) if value == int(value) else _fraction(value)
        upto = total if isinstance(total, int) else math.floor(total + _fraction(0.5))
        yield upto - given
        given = upto


def _fraction(value: float) -> Fraction:
    from fractions import Fraction

    return Fraction(value)


def whole_calls(counts: Iterable[Count]) -> Iterator[int]:
    """Yield the calls of each count as a whole number."""
    return whole(count.calls for count in counts)


@dataclass(frozen=True)
class ScaledTimeline:
    """Calls by interval and stack; a stack's rows add up to its ``Count.calls``, rounded.

    :ivar starts: Beginning of each interval, in seconds since the capture began.
    :ivar ends: End of each interval, in the same unit.
    :ivar intervals: For each row, the index of its interval.
    :ivar counts: For each row, the index of its count.
    :ivar calls: For each row, the number of calls.
    """

    starts: list[float]
    ends: list[float]
    intervals: array[int]
    counts: array[int]
    calls: array[int]

    def totals(self) -> list[int]:
        """Return the number of calls in each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.calls, strict=True):
            totals[interval] += number
        return totals

    def rows(self) -> zip[tuple[int, int, int]]:
        """Iterate over (index of the interval, index of the count, calls)."""
        return zip(self.intervals, self.counts, self.calls, strict=True)


def scaled_timeline(profile: ProfileData) -> ScaledTimeline:
    """Return the calls over time; without a recorded timeline, one interval of length 0.

    Where hits were sampled, a stack's calls are shared out over its rows by their recorded hits.
    """
    timeline = profile.checked_timeline()
    totals = list(whole_calls(profile))
    if not timeline.ends:
        rows = array("I", range(len(totals)))
        return ScaledTimeline(
            [0.0], [0.0], array("I", bytes(4 * len(rows))), rows, array("q", totals)
        )
    starts = [0.0, *timeline.ends[:-1]]
    numbers = timeline.numbers
    if any(count.scaled is not None for count in profile):
        numbers = _scaled(profile, timeline, totals)
    return ScaledTimeline(starts, timeline.ends, timeline.intervals, timeline.counts, numbers)


def _scaled(profile: ProfileData, timeline: Timeline, totals: list[int]) -> array[int]:
    """Return the calls of each row; after each row, a stack has its share so far, rounded."""
    taken = [0] * len(totals)
    given = [0] * len(totals)
    found = array("q")
    for _, index, number in timeline.rows():
        taken[index] += number
        whole = profile.counts[index].count
        upto = taken[index] * totals[index] // whole if whole else 0
        found.append(upto - given[index])
        given[index] = upto
    return found


class Bar(NamedTuple):
    """Number of calls between two times, in seconds since the capture began."""

    start: float
    end: float
    number: int

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.number / (self.end - self.start) if self.end > self.start else 0.0


def bars(profile: ProfileData, most: int = MOST_BARS) -> list[Bar]:
    """Return a bar for each interval; none without a recorded timeline.

    :param most: Most bars; more intervals than that are joined.
    """
    if not profile.timeline.ends:
        return []
    found = scaled_timeline(profile)
    totals, ends = found.totals(), found.ends
    each = -(-len(totals) // most)
    return [
        Bar(found.starts[first], ends[min(first + each, len(totals)) - 1],
            sum(totals[first : first + each]))
        for first in range(0, len(totals), each)
    ]  # fmt: skip
