# SPDX-License-Identifier: MIT
"""Calls as whole numbers, for formats that have no others: of counts, over time, as bars.

Rounding keeps sums: each running sum is the running sum of the calls, rounded.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData, Timeline
from kwalk.model.stack import Count

if TYPE_CHECKING:
    from fractions import Fraction

MOST_BARS = 240


def whole(values: Iterable[float]) -> Iterator[int]:
    """Yield a whole number for each value, at most 1 away from it.

    The remainder of a value is carried to the next ones: each running sum is the running sum of the
    values, rounded.
    """
    total: Fraction | int = 0
    given = 0
    for value in values:
        # Fractions are exact, where floats would drift; most values are whole.
        total += int(value) if value == int(value) else _fraction(value)
        upto = total if isinstance(total, int) else math.floor(total + _fraction(0.5))
        yield upto - given
        given = upto


def _fraction(value: float) -> Fraction:
    from fractions import Fraction

    return Fraction(value)


def whole_calls(counts: Iterable[Count]) -> Iterable[int]:
    """Return the scaled hits of each count as a whole number."""
    columns = Counts.of(counts)
    return columns.numbers if columns.scaled is None else whole(columns.calls)


@dataclass(frozen=True)
class ScaledTimeline:
    """Columns of (interval, count, calls) rows; a count's rows add up to its calls, rounded.

    :ivar starts: Start of each interval, in seconds since the capture began.
    :ivar ends: End of each interval, likewise.
    :ivar intervals: Index of the interval of each row.
    :ivar counts: Index into ``profile.counts`` of each row.
    :ivar calls: Calls of each row: hits, scaled if sampled.
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
    """Return the timeline in whole calls; without a timeline, one interval of length 0.

    If the capture was sampled, the scaled hits of a stack are shared out over its rows in
    proportion to the recorded ones.
    """
    timeline = profile.checked_timeline()
    totals = list(whole_calls(profile.counts))
    if not timeline.ends:
        rows = array("I", range(len(totals)))
        return ScaledTimeline(
            [0.0], [0.0], array("I", bytes(4 * len(rows))), rows, array("q", totals)
        )
    starts = [0.0, *timeline.ends[:-1]]
    numbers = timeline.numbers
    if profile.sampled:
        numbers = _scaled(profile, timeline, totals)
    return ScaledTimeline(starts, timeline.ends, timeline.intervals, timeline.counts, numbers)


def _scaled(profile: ProfileData, timeline: Timeline, totals: list[int]) -> array[int]:
    """Return the calls of each row, such that a stack's running sum is its share, rounded down."""
    counts = profile.columns.numbers
    taken = [0] * len(totals)
    given = [0] * len(totals)
    found = array("q")
    for _, index, number in timeline.rows():
        taken[index] += number
        whole = counts[index]
        upto = taken[index] * totals[index] // whole if whole else 0
        found.append(upto - given[index])
        given[index] = upto
    return found


class Bar(NamedTuple):
    """Calls between two times, which are in seconds since the capture began."""

    start: float
    end: float
    number: int

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.number / (self.end - self.start) if self.end > self.start else 0.0


def bars(profile: ProfileData, most: int = MOST_BARS) -> list[Bar]:
    """Return a bar for each interval; [] without a timeline.

    :param most: Most bars; several intervals share one if there are more.
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
