# SPDX-License-Identifier: MIT
"""A timeline as small bars: how many calls there were, by the second."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.profile import Timeline

MOST = 240


class Bar(NamedTuple):
    """What was counted between two times, in seconds since the capture began."""

    start: float
    end: float
    number: int

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.number / (self.end - self.start) if self.end > self.start else 0.0


def bars(timeline: Timeline, most: int = MOST) -> list[Bar]:
    """Return a bar for each interval.

    :param most: Where there are more intervals, so many bars hold several of them each.
    """
    totals = [0] * len(timeline.ends)
    for interval, number in zip(timeline.intervals, timeline.numbers, strict=True):
        totals[interval] += number
    each = -(-len(totals) // most) or 1
    starts = [0.0, *timeline.ends]
    return [
        Bar(starts[first], timeline.ends[min(first + each, len(totals)) - 1],
            sum(totals[first : first + each]))
        for first in range(0, len(totals), each)
    ]  # fmt: skip
