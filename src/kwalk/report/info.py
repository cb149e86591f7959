# SPDX-License-Identifier: MIT
"""Output of ``kwalk info``: machine, kernel, command line, sizes and ledger of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count
from kwalk.report import headings, summary
from kwalk.support.text import plural


def _stacks(counts: Sequence[Count]) -> int:
    return len(Counts.of(counts).met_stacks)


def _groups(counts: Sequence[Count]) -> int:
    return len([group for group in Counts.of(counts).met_groups if group])


def extent(counts: Sequence[Count]) -> str:
    """Return the numbers of distinct stacks and groups, such as ``4 stacks in 3 groups``."""
    groups = _groups(counts)
    text = plural(_stacks(counts), "stack")
    return f"{text} in {plural(groups, 'group')}" if groups else text


def as_data(profile: ProfileData) -> dict[str, Any]:
    """Return the summary, facts and sizes as JSON-ready data."""
    return summary.as_data(profile.summary, "kwalk.info/2") | {
        "facts": profile.facts,
        "seconds": profile.seconds or None,
        "stacks": _stacks(profile.counts),
        "groups": _groups(profile.counts),
        "rows": len(profile.timeline),
    }


def as_text(profile: ProfileData) -> str:
    """Return the facts, the sizes, and the summary as lines of text."""
    data = as_data(profile)
    lines = []
    for key, name in headings.NAMES.items():
        if text := headings.told(profile, key):
            lines.append(f"{name:10}{text}")
    rows = extent(profile.counts)
    rows += f", {profile.seconds:.1f} s" if profile.seconds else ""
    lines.append(f"{'holds':10}{rows}, {plural(data['rows'], 'row')}")
    return "\n".join(lines) + "\n\n" + summary.as_text(profile.summary)
