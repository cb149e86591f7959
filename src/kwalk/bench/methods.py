# SPDX-License-Identifier: MIT
"""Method names of ``kwalk bench --methods``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kwalk.bench import empty, ftrace, own, peers
from kwalk.bench.tool import Tool
from kwalk.errors import UsageError

NONE = "none"
OWN = {"kwalk": "auto", "manual": "manual", "helper": "helper"}
EMPTY = "empty"
# Methods that may be followed by the way of attaching, and the ways.
ATTACHED = (*OWN, EMPTY)
ATTACHES = ("kprobe", "fentry")
# Programs that are not kwalk's: METHOD@LABEL is the one in a folder of --tools.
PROGRAMS = ("bpftrace", "bcc", "perf")
OTHERS = (*PROGRAMS, "ftrace", "once", "test-manual", "test-helper")
DEFAULT = "none,helper,manual"
# Tools that cannot print each event.
_COUNT_ONLY: dict[str, Callable[[str, str, Path | None], Tool]] = {
    "bcc": peers.Bcc,
    "perf": ftrace.Perf,
}
_AUTO = "auto"


def find(
    name: str, function: str, mode: str, attach: str, folders: Mapping[str, Path] | None = None
) -> Tool:
    """Return the tool with a method name.

    :param mode: ``count`` or ``stream``.
    :param attach: kwalk's way of attaching, if the name does not give one.
    :param folders: Folders of programs by their labels.
    :raises UsageError: if there is no such method or label, or not in this mode.
    """
    method, _, by = name.partition(":")
    if method in OWN and (not by or by in ATTACHES):
        return own.kwalk(function, mode, OWN[method], by or attach, name)
    if method == EMPTY and (not by or by in ATTACHES):
        chosen = by or (attach if attach != _AUTO else empty.WAYS[0])
        return empty.Empty(function, chosen, name)
    program, at, label = name.partition("@")
    folder = _folder(name, label, folders or {}) if at and program in PROGRAMS else None
    if program == "bpftrace":
        return peers.Bpftrace(function, mode == "stream", name, folder)
    if program in _COUNT_ONLY and mode == "count":
        return _COUNT_ONLY[program](function, name, folder)
    if name == "ftrace" and mode == "count":
        return ftrace.Ftrace(function)
    if name == "once" and mode == "stream":
        return own.once(function, attach)
    if name.startswith("test-") and name in OTHERS and mode == "stream":
        return own.published(function, name.removeprefix("test-"))
    if program in OTHERS and (not at or folder):
        raise UsageError(
            f"the method {name} does not go with --mode {mode}",
            "Methods that print each event: kwalk's, bpftrace, once, test-manual and test-helper; "
            "empty goes with both modes.",
        )
    raise UsageError(
        f"there is no method {name!r}",
        f"Methods: {NONE}, {', '.join(ATTACHED)} (each also as NAME:kprobe and NAME:fentry), "
        f"{', '.join(OTHERS)}.",
    )


def _folder(name: str, label: str, folders: Mapping[str, Path]) -> Path:
    if label not in folders:
        raise UsageError(
            f"the method {name} is of no folder of --tools",
            f"Say where its program is: --tools {label or 'LABEL'}=FOLDER",
        )
    if not folders[label].is_dir():
        raise UsageError(
            f"{folders[label]}, the folder of {name}, does not exist",
            "Give --tools a folder with the programs, as LABEL=FOLDER.",
        )
    return folders[label]


def find_all(
    names: str, function: str, mode: str, attach: str, folders: Mapping[str, Path] | None = None
) -> list[Tool]:
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
    return [find(name, function, mode, attach, folders) for name in chosen]
