# SPDX-License-Identifier: MIT
"""What formats of other tools say about a profile: a title, the ledger as lines, when it began."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

from kwalk.profile import Profile
from kwalk.report import summary

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def lines(profile: Profile) -> list[str]:
    """Return the ledger, hits = recorded + lost first, then what is known of the machine."""
    found = summary.as_text(profile.summary).splitlines()
    facts = profile.facts
    for key in ("command", "kernel", "kernel_version", "host", "started", "kwalk"):
        if value := facts.get(key):
            text = shlex.join(map(str, value)) if isinstance(value, list) else str(value)
            found.append(f"{key}: {text}")
    return [line.strip() for line in found]


def title(profile: Profile, wanted: str = "") -> str:
    """Return what was traced, with hits = recorded + lost.

    :param wanted: Stands in place of what was traced, where it is not "".
    """
    first = lines(profile)[0]
    return f"{wanted} - {first}" if wanted else first


def started_ns(profile: Profile) -> int:
    """Return when the capture began, in nanoseconds since 1970; 0 where that is not known."""
    try:
        began = datetime.fromisoformat(profile.facts["started"])
    except (KeyError, TypeError, ValueError):
        return 0
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    return (began - _EPOCH) // timedelta(microseconds=1) * 1000
