# SPDX-License-Identifier: MIT
"""A flame graph to explore: one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.profile import Profile
from kwalk.report.flame import header, shown, trees
from kwalk.report.flame_page import page
from kwalk.report.formats import Options
from kwalk.report.room import Room
from kwalk.stack import Count


def render(profile: Profile, options: Options) -> Iterator[str]:
    """Yield the page."""
    counts, _ = shown(profile, options)
    room = Room[Count]()
    drawn = trees(counts, room)
    yield from page(drawn, header(profile, options, room), callers=options.callers)
