# SPDX-License-Identifier: MIT
"""A flame graph to explore: one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.profile import Profile
from kwalk.report.flame import header, shown, trees
from kwalk.report.flame_page import page
from kwalk.report.formats import Options


def render(profile: Profile, options: Options) -> Iterator[str]:
    """Yield the page."""
    counts, _ = shown(profile, options)
    yield from page(trees(counts), header(profile, options), callers=options.callers)
