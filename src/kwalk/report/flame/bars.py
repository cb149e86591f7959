# SPDX-License-Identifier: MIT
"""A timeline as small bars: how many calls there were, by the second."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.model.profile import ProfileData
from kwalk.report.scaled_timeline import spread

MOST = 240


class Bar(NamedTuple):
    """How many calls there were between two times, in seconds since the capture began."""

    start: float
    end: float
    number: int

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.number / (self.end - self.start) if self.end > self.start else 0.0


def bars(profile: ProfileData, most: int = MOST) -> list[Bar]:
    """Return a bar for each interval; none where no timeline was recorded.

    :param most: Where there are more intervals, so many bars hold several of them each.
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
