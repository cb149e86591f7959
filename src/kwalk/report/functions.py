# SPDX-License-Identifier: MIT
"""Output of ``kwalk functions``: functions with their traceability, as text or JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

from kwalk.probe.selection import Skipped
from kwalk.probe.target import Target
from kwalk.support.text import plural

Also = Callable[[Target], Sequence[str]]
"""Function that returns the other names of a target."""


def as_text(found: Sequence[Skipped], also: Also) -> str:
    """Return a line for each function: its name, and the reason if it can't be traced.

    A name of several functions is followed by the address.
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
    """Return a line with the numbers of all functions and of traceable ones.

    :param known: The kernel's list of traceable functions could be read.
    """
    all_, able = plural(len(found), "function"), sum(not why for _, why in found)
    if not known:
        return f"{all_}; which can be traced is unknown (ftrace's list cannot be read)\n"
    return f"{all_}, {able:,} can be traced\n"


def as_json(found: Sequence[Skipped], also: Also) -> str:
    """Return one JSON object a line, one line a function."""
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
