# SPDX-License-Identifier: MIT
"""Flame graph as a still picture (SVG)."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.model.profile import ProfileData
from kwalk.report.calltree import build
from kwalk.report.flame.header import header
from kwalk.report.flame.svg import drawing
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the picture."""
    counts, _ = last(profile.counts, options.top)
    room = Room[float]()
    tree = build(counts, options.callers, room)
    yield from drawing(tree, header(profile, options, room), callers=options.callers)
