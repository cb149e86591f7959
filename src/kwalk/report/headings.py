# SPDX-License-Identifier: MIT
"""What formats of other tools say about a profile: a title, the ledger as lines, when it began."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

from kwalk.model.profile import ProfileData
from kwalk.report import summary
from kwalk.support.printable import plain
from kwalk.support.text import plural

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Facts and what they are called, in the order in which people are told of them.
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
    """Return what is known of a fact, one of ``NAMES``, as text; "" where that is nothing."""
    value = profile.facts.get(name)
    if name == "merged":
        return f"of {plural(len(value), 'recording')}" if isinstance(value, list) else ""
    if name == "started":
        return _time(str(value)) if value else ""
    if isinstance(value, list):  # a command line, ready to be given to a shell
        return plain(shlex.join(map(str, value)))
    return "" if value is None else plain(str(value))


def _time(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return plain(text)
    return f"{time:%Y-%m-%d %H:%M:%S} {time.tzname() or ''}".strip()


def lines(profile: ProfileData) -> list[str]:
    """Return the ledger, hits = recorded + lost first, then what is known of the machine."""
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
    """Return what was traced, with hits = recorded + lost.

    :param wanted: Stands in place of what was traced, where it is not "".
    """
    first = lines(profile)[0]
    return f"{wanted} - {first}" if wanted else first


def started_ns(profile: ProfileData) -> int:
    """Return when the capture began, in nanoseconds since 1970; 0 where that is not known."""
    try:
        began = datetime.fromisoformat(profile.facts["started"])
    except (KeyError, TypeError, ValueError):
        return 0
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    return (began - _EPOCH) // timedelta(microseconds=1) * 1000
