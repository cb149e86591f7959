# SPDX-License-Identifier: MIT
"""Names that the kernel lists, by their beginnings: quickly, for whoever waits at a prompt."""

from __future__ import annotations

import re
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
KALLSYMS = Path("/proc/kallsyms")
# What compilers and the build leave beside functions; nobody means these.
_PARTS = re.compile(r"^__(?:pfx|cfi)_|\.(?:cold|constprop|isra|part)\b")


def functions(beginning: str) -> list[str]:
    """Return the functions whose names, or ``module:name``, begin so, in order.

    :param beginning: May have ``r:`` ahead, for returns; nothing is returned for "".
    :return: Those that ftrace can trace where its list can be read (root), else all functions of
        kallsyms; none where neither can be read.
    """
    ahead, rest = ("r:", beginning[2:]) if beginning.startswith("r:") else ("", beginning)
    if not rest:
        return []
    module, colon, name = rest.rpartition(":")
    found = _traceable(name) or _symbols(name)
    ahead += module + colon
    names = {n for n, of in found if not colon or of == module}
    return sorted(ahead + n for n in names if not _PARTS.search(n))


def tracepoints(beginning: str) -> list[str]:
    """Return ``t:GROUP:NAME`` of those that begin so."""
    text = _read(TRACING / "available_events")
    start = beginning.removeprefix("t:").encode(errors="replace")
    return sorted(
        f"t:{line.decode(errors='replace')}" for line in text.split() if line.startswith(start)
    )


def _traceable(name: str) -> list[tuple[str, str]]:
    """``name`` and ``name [module]`` lines."""
    pattern = rb"^(%s\S*)(?:[ \t]+\[(\S+)\])?" % re.escape(name.encode(errors="replace"))
    return _found(pattern, TRACING / "available_filter_functions")


def _symbols(name: str) -> list[tuple[str, str]]:
    """``address type name`` lines, with a tab and ``[module]`` at their ends."""
    # No ^: it would have each character looked at.
    pattern = rb" [tTwW] (%s\S*)(?:\t\[(\S+)\])?" % re.escape(name.encode(errors="replace"))
    return _found(pattern, KALLSYMS)


def _found(pattern: bytes, path: Path) -> list[tuple[str, str]]:
    matches = re.findall(pattern, _read(path), re.MULTILINE)
    return [
        (name.decode(errors="replace"), module.decode(errors="replace"))
        for name, module in matches
        if name
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a prompt is no place for errors
