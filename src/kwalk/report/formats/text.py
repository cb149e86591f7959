# SPDX-License-Identifier: MIT
"""Stacks as blocks of text, the hottest last, then the summary."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.model.profile import ProfileData
from kwalk.report import summary
from kwalk.report.count import CountText
from kwalk.report.style import ReportOptions


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the stacks, then the summary."""
    report = CountText(bool(options.addresses), options.top, profile.summary.unit)
    yield from report.stacks(profile.counts)
    yield summary.as_text(profile.summary)
