# SPDX-License-Identifier: MIT
"""Timeline of a profile in whole hits, scaled if sampled."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from kwalk.model.profile import ProfileData, Timeline
from kwalk.report.whole_numbers import calls


@dataclass(frozen=True)
class Spread:
    """Columns of (interval, count, hits) rows; a count's rows add up to its hits, rounded.

    :ivar starts: Start of each interval, in seconds since the capture began.
    :ivar ends: End of each interval, likewise.
    :ivar intervals: Index of the interval of each row, ascending.
    :ivar counts: Index into ``profile.counts`` of each row.
    :ivar calls: Hits of each row.
    """

    starts: list[float]
    ends: list[float]
    intervals: array[int]
    counts: array[int]
    calls: array[int]

    def totals(self) -> list[int]:
        """Return the hits of each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.calls, strict=True):
            totals[interval] += number
        return totals

    def rows(self) -> zip[tuple[int, int, int]]:
        """Iterate over (index of the interval, index of the count, hits)."""
        return zip(self.intervals, self.counts, self.calls, strict=True)


def spread(profile: ProfileData) -> Spread:
    """Return the timeline in whole hits; without a timeline, one interval of length 0.

    If the capture was sampled, the scaled hits of a stack are shared out over its rows in
    proportion to the recorded ones.
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
    """Return the hits of each row, such that a stack's running sum is its share, rounded down."""
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
