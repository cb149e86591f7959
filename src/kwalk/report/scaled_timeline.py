# SPDX-License-Identifier: MIT
"""A profile's calls over time, as whole numbers: the rows of its timeline, or all at once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from kwalk.model.profile import ProfileData, Timeline
from kwalk.report.whole_numbers import calls


@dataclass(frozen=True)
class Spread:
    """Calls of each interval and stack; the sum of a stack's is that of its count, rounded.

    :ivar starts: When each interval begins, in seconds since the capture began.
    :ivar ends: When it ends.
    :ivar intervals: For each row, the index of its interval; they are in order.
    :ivar counts: For each row, the index of its count.
    :ivar calls: For each row, how many calls.
    """

    starts: list[float]
    ends: list[float]
    intervals: array[int]
    counts: array[int]
    calls: array[int]

    def totals(self) -> list[int]:
        """Return how many calls there were in each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.calls, strict=True):
            totals[interval] += number
        return totals

    def rows(self) -> zip[tuple[int, int, int]]:
        """Iterate over (index of the interval, index of the count, calls)."""
        return zip(self.intervals, self.counts, self.calls, strict=True)


def spread(profile: ProfileData) -> Spread:
    """Return the calls over time; where no timeline was recorded, as one interval without length.

    Where not every call was taken, a
    stack's calls are shared out over its rows by what was taken.
    """
    timeline = profile.checked_timeline()
    totals = list(calls(profile))
    if not timeline.ends:
        rows = array("I", range(len(totals)))
        return Spread([0.0], [0.0], array("I", bytes(4 * len(rows))), rows, array("q", totals))
    starts = [0.0, *timeline.ends[:-1]]
    numbers = timeline.numbers
    if any(count.scaled is not None for count in profile):
        numbers = _scaled(profile, timeline, totals)
    return Spread(starts, timeline.ends, timeline.intervals, timeline.counts, numbers)


def _scaled(profile: ProfileData, timeline: Timeline, totals: list[int]) -> array[int]:
    """Return the calls of each row: so that after each, a stack has its share, rounded."""
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
