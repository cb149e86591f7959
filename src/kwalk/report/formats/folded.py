# SPDX-License-Identifier: MIT
"""Folded lines for flame graph tools."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.model.profile import ProfileData
from kwalk.report.count import Folded
from kwalk.report.style import ReportOptions


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the lines."""
    yield from Folded(options.top, options.callers).lines(profile.counts)
