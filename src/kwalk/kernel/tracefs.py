# SPDX-License-Identifier: MIT
"""Names of functions and tracepoints by prefix, fast enough for shell completion."""

from __future__ import annotations

import re
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
KALLSYMS = Path("/proc/kallsyms")
# Parts of functions, and padding, that compilers and the build name.
_PARTS = re.compile(r"^__(?:pfx|cfi)_|\.(?:cold|constprop|isra|part)\b")


def functions(beginning: str) -> list[str]:
    """Return the functions with a prefix, sorted, as ``name`` or ``module:name``.

    :param beginning: The prefix, maybe with ``r:`` (returns) before it; "" has no results.
    :return: Functions that ftrace can trace if its list is readable (root), else all functions of
        kallsyms; none if neither is readable.
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
    """Return ``t:GROUP:NAME`` of the tracepoints with a prefix, sorted."""
    text = _read(TRACING / "available_events")
    start = beginning.removeprefix("t:").encode(errors="replace")
    return sorted(
        f"t:{line.decode(errors='replace')}" for line in text.split() if line.startswith(start)
    )


def _traceable(name: str) -> list[tuple[str, str]]:
    """Search lines of the form ``name`` or ``name [module]``."""
    pattern = rb"^(%s\S*)(?:[ \t]+\[(\S+)\])?" % re.escape(name.encode(errors="replace"))
    return _found(pattern, TRACING / "available_filter_functions")


def _symbols(name: str) -> list[tuple[str, str]]:
    """Search lines of the form ``address type name``, maybe with a tab and ``[module]``."""
    # Without ^, which would test every character.
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
        return b""  # completion reports no errors
