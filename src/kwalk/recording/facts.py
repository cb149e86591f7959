# SPDX-License-Identifier: MIT
"""What a recording says of the machine that it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kwalk.recording import schema
from kwalk.version import __version__

# What is known of them; where several captures were put together, ``merged`` has those of each.
_KINDS: dict[str, Any] = {
    "kwalk": str,
    "command": list[str],
    "started": str,
    "seconds": str,
    "host": str,
    "machine": str,
    "cpus": int | None,
    "kernel": str,
    "kernel_version": str,
    "unwinder": str,
    "text": int,
}


_MOST_NESTED = 16


def checked(data: Any) -> dict[str, Any]:
    """Return facts as they were read, those of later versions as they are.

    :raises ValueError: if one is of another type than it should be, or they are nested more than
        16 times.
    """
    _check_nesting(data)
    return _checked(data)


def _check_nesting(data: Any) -> None:
    level = [data]
    for _ in range(_MOST_NESTED):
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [part for one in inner for part in (one.values() if type(one) is dict else one)]
        if not level:
            return
    raise ValueError("facts within facts")


def _checked(data: Any) -> dict[str, Any]:
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if type(part) is not dict:
            raise ValueError("facts that are no object")
        for name in part.keys() & _KINDS.keys():
            schema.of(_KINDS[name], part[name])
        if "merged" in part:
            if type(part["merged"]) is not list:
                raise ValueError("merged facts that are no list")
            waiting += part["merged"]
    found: dict[str, Any] = data
    return found


def facts(command: Sequence[str], unwinder: str, text: int) -> dict[str, Any]:
    """Return ``ProfileData.facts`` of a capture that begins now.

    :param command: The command line.
    :param unwinder: How the kernel unwinds.
    :param text: Address of the kernel's symbol ``_text``, by which addresses of this boot become
        those of the kernel's file.
    """
    machine = os.uname()
    return {
        "kwalk": __version__,
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": machine.nodename,
        "machine": machine.machine,
        "cpus": os.cpu_count(),
        "kernel": machine.release,
        "kernel_version": machine.version,
        "unwinder": unwinder,
        "text": text,
    }
