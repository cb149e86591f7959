# SPDX-License-Identifier: MIT
"""Flame graph as an interactive HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.model.profile import ProfileData
from kwalk.report.calltree import trees
from kwalk.report.flame.header import header
from kwalk.report.flame.page import page
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the page."""
    counts, _ = last(profile.counts, options.top)
    room = Room[float]()
    drawn = trees(counts, room)
    yield from page(drawn, header(profile, options, room), callers=options.callers)
