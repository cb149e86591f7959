# SPDX-License-Identifier: MIT
"""Title, ledger lines and facts of a profile, for the headers of all formats."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

from kwalk.model.profile import ProfileData
from kwalk.report import summary
from kwalk.support.printable import plain
from kwalk.support.text import plural

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Keys of ``ProfileData.facts`` and their labels, in the order of output.
NAMES = {
    "command": "command",
    "merged": "merged",
    "started": "started",
    "seconds": "seconds",
    "host": "host",
    "machine": "machine",
    "cpus": "CPUs",
    "kernel": "kernel",
    "kernel_version": "",
    "unwinder": "unwinder",
    "kwalk": "kwalk",
}


def told(profile: ProfileData, name: str) -> str:
    """Return a fact as text, "" if it is unknown; ``name`` is one of ``NAMES``."""
    value = profile.facts.get(name)
    if name == "merged":
        return f"of {plural(len(value), 'recording')}" if isinstance(value, list) else ""
    if name == "started":
        return _time(str(value)) if value else ""
    if isinstance(value, list):  # a command line
        return plain(shlex.join(map(str, value)))
    return "" if value is None else plain(str(value))


def _time(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return plain(text)
    return f"{time:%Y-%m-%d %H:%M:%S} {time.tzname() or ''}".strip()


def lines(profile: ProfileData) -> list[str]:
    """Return the lines of the summary, hits = recorded + lost first, then the known facts."""
    found = summary.as_text(profile.summary).splitlines()
    for key in (
        "command",
        "merged",
        "kernel",
        "kernel_version",
        "host",
        "started",
        "seconds",
        "kwalk",
    ):
        if text := told(profile, key):
            found.append(f"{key}: {text}")
    return [line.strip() for line in found]


def title(profile: ProfileData, wanted: str = "") -> str:
    """Return the first line of the summary: function and hits = recorded + lost.

    :param wanted: The user's title, put in front; "" for none.
    """
    first = lines(profile)[0]
    return f"{wanted} - {first}" if wanted else first


def started_ns(profile: ProfileData) -> int:
    """Return the start of the capture in nanoseconds since 1970; 0 if it is unknown."""
    try:
        began = datetime.fromisoformat(profile.facts["started"])
    except (KeyError, TypeError, ValueError):
        return 0
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    return (began - _EPOCH) // timedelta(microseconds=1) * 1000
