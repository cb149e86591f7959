# SPDX-License-Identifier: MIT
"""What a recording is of: machine, kernel, command line, sizes, and the ledger."""

from __future__ import annotations

from typing import Any

from kwalk.model.profile import Profile
from kwalk.report import headings, summary
from kwalk.support.text import plural


def as_data(profile: Profile) -> dict[str, Any]:
    """Return it as JSON-ready data."""
    return summary.as_data(profile.summary, "kwalk.info/2") | {
        "facts": profile.facts,
        "seconds": profile.seconds or None,
        "stacks": len({id(count.stack) for count in profile}),
        "groups": len({count.group for count in profile if count.group}),
        "rows": len(profile.timeline),
    }


def as_text(profile: Profile) -> str:
    """Return it as lines for a person."""
    data = as_data(profile)
    lines = []
    for key, name in headings.NAMES.items():
        if text := headings.told(profile, key):
            lines.append(f"{name:10}{text}")
    rows = plural(data["stacks"], "stack")
    rows += f" in {plural(data['groups'], 'group')}" if data["groups"] else ""
    rows += f", {profile.seconds:.1f} s" if profile.seconds else ""
    lines.append(f"{'holds':10}{rows}, {plural(data['rows'], 'row')}")
    return "\n".join(lines) + "\n\n" + summary.as_text(profile.summary)
