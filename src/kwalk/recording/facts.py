# SPDX-License-Identifier: MIT
"""Facts of a recording: machine, kernel, command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kwalk.recording import schema
from kwalk.version import __version__

# Types of known facts; in a merged profile, ``merged`` has the facts of each part.
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
    """Return facts after a check; unknown ones, of later versions, are kept.

    :raises ValueError: if a fact has a wrong type, or facts are nested more than 16 levels deep.
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
            raise ValueError("facts are not an object")
        for name in part.keys() & _KINDS.keys():
            schema.of(_KINDS[name], part[name])
        if "merged" in part:
            if type(part["merged"]) is not list:
                raise ValueError("merged facts are not a list")
            waiting += part["merged"]
    found: dict[str, Any] = data
    return found


def facts(command: Sequence[str], unwinder: str, text: int) -> dict[str, Any]:
    """Return ``ProfileData.facts`` of a capture that begins now.

    :param command: Command line.
    :param unwinder: Name of the kernel's unwinder.
    :param text: Address of the symbol ``_text``, to map addresses of this boot to the kernel's ELF
        file.
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
