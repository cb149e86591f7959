# SPDX-License-Identifier: MIT
"""Functions that can be traced, and those that can't, as text and as plain data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

from kwalk.probe.selection import Skipped
from kwalk.probe.target import Target
from kwalk.support.text import plural

Also = Callable[[Target], Sequence[str]]
"""Returns the other names of a function."""


def as_text(found: Sequence[Skipped], also: Also) -> str:
    """Return a line for each: as it is to be written to be traced, or the reason against it.

    Of several functions of one name each has its address behind it.
    """
    names = Counter(target.name for target, _ in found)
    lines = []
    for target, why in found:
        module = f" [{target.module}]" if target.module else ""
        address = f" {target.address:#x}" if names[target.name] > 1 else ""
        aliases = ", ".join(also(target))
        others = f" (also {aliases})" if aliases else ""
        reason = f": {why}" if why else ""
        lines.append(f"{target.name}{module}{address}{others}{reason}\n")
    return "".join(lines)


def numbers(found: Sequence[Skipped], known: bool) -> str:
    """Return how many there are, as a line.

    :param known: Whether ftrace has said which ones it can trace.
    """
    all_, able = plural(len(found), "function"), sum(not why for _, why in found)
    if not known:
        return f"{all_}; which can be traced is not known (no list of ftrace's)\n"
    return f"{all_}, {able:,} can be traced\n"


def as_json(found: Sequence[Skipped], also: Also) -> str:
    """Return one JSON object a line."""
    return "".join(
        json.dumps(
            {
                "name": target.name,
                "module": target.module,
                "addr": f"{target.address:#x}",
                "aliases": list(also(target)),
                "traceable": not why,
                "why_not": why or None,
            },
            separators=(",", ":"),
        )
        + "\n"
        for target, why in found
    )
