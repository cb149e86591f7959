# SPDX-License-Identifier: MIT
"""Bars of a timeline: hits over time."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.model.profile import ProfileData
from kwalk.report.scaled_timeline import spread

MOST = 240


class Bar(NamedTuple):
    """Hits between two times, which are in seconds since the capture began."""

    start: float
    end: float
    number: int

    @property
    def rate(self) -> float:
        """Hits a second."""
        return self.number / (self.end - self.start) if self.end > self.start else 0.0


def bars(profile: ProfileData, most: int = MOST) -> list[Bar]:
    """Return a bar for each interval; [] without a timeline.

    :param most: Most bars; several intervals share one if there are more.
    """
    if not profile.timeline.ends:
        return []
    found = spread(profile)
    totals, ends = found.totals(), found.ends
    each = -(-len(totals) // most)
    return [
        Bar(found.starts[first], ends[min(first + each, len(totals)) - 1],
            sum(totals[first : first + each]))
        for first in range(0, len(totals), each)
    ]  # fmt: skip
