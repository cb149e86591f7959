# SPDX-License-Identifier: MIT
"""Method names of ``kwalk bench --methods``."""

from __future__ import annotations

from collections.abc import Callable

from kwalk.bench import ftrace, own, peers
from kwalk.bench.tool import Tool
from kwalk.errors import UsageError

NONE = "none"
OWN = {"kwalk": "auto", "manual": "manual", "helper": "helper"}
ATTACHES = ("kprobe", "fentry")
OTHERS = ("bpftrace", "bcc", "ftrace", "perf", "once", "test-manual", "test-helper")
DEFAULT = "none,helper,manual"
# Tools that cannot print each event.
_COUNT_ONLY: dict[str, Callable[[str], Tool]] = {
    "bcc": peers.Bcc,
    "ftrace": ftrace.Ftrace,
    "perf": ftrace.Perf,
}


def find(name: str, function: str, mode: str, attach: str) -> Tool:
    """Return the tool with a method name.

    :param mode: ``count`` or ``stream``.
    :param attach: kwalk's way of attaching, if the name does not give one.
    :raises UsageError: if there is no such method, or not in this mode.
    """
    method, _, by = name.partition(":")
    if method in OWN and (not by or by in ATTACHES):
        return own.kwalk(function, mode, OWN[method], by or attach, name)
    if name == "bpftrace":
        return peers.Bpftrace(function, prints=mode == "stream")
    if name in _COUNT_ONLY and mode == "count":
        return _COUNT_ONLY[name](function)
    if name == "once" and mode == "stream":
        return own.once(function, attach)
    if name.startswith("test-") and name in OTHERS and mode == "stream":
        return own.published(function, name.removeprefix("test-"))
    if name in OTHERS:
        raise UsageError(
            f"the method {name} does not go with --mode {mode}",
            "Methods that print each event: kwalk's, bpftrace, once, test-manual and test-helper.",
        )
    raise UsageError(
        f"there is no method {name!r}",
        f"Methods: {NONE}, {', '.join(OWN)} (each also as NAME:kprobe and NAME:fentry), "
        f"{', '.join(OTHERS)}.",
    )


def find_all(names: str, function: str, mode: str, attach: str) -> list[Tool]:
    """Return the tools of a comma-separated list of method names, ``none`` excluded.

    :raises UsageError: see ``find``; also if the list has only ``none``, or a name twice.
    """
    words = [name.strip() for name in names.split(",") if name.strip()]
    chosen = [name for name in words if name != NONE]
    if not chosen or len(set(chosen)) < len(chosen):
        raise UsageError(
            f"--methods {names!r} has no method besides none, or one of them twice",
            f"Example: --methods {DEFAULT}",
        )
    return [find(name, function, mode, attach) for name in chosen]
