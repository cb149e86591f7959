# SPDX-License-Identifier: MIT
"""Why the kernel did not let a program be attached, in words."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

from kwalk.errors import KwalkError, NotSupported, UsageError
from kwalk.kernel.access import KPROBE_PMU
from kwalk.libbpf import LibbpfError
from kwalk.probe.selection import Selection
from kwalk.probe.traceable import NOTRACE

BLACKLIST = Path("/sys/kernel/debug/kprobes/blacklist")
FILTER_FUNCTIONS = Path("/sys/kernel/tracing/available_filter_functions")
LOG_LINES = 12
BY_KPROBE = {"kprobe", "kretprobe"}


def explain(selection: Selection, refusals: Sequence[tuple[str, LibbpfError]]) -> KwalkError:
    """Return the error to raise when no way of attaching worked.

    :param refusals: Each way that was tried and what libbpf answered; at least one.
    """
    target, label = selection.targets[0], selection.label
    one = len(selection.targets) == 1
    if one and (why := _untraceable(target.name, [way for way, _ in refusals])):
        return UsageError(
            f"{target.name} cannot be traced: {why}",
            "Trace a function that it calls, or one of its callers.",
        )
    if target.offset and any(error.errno == errno.EILSEQ for _, error in refusals):
        return UsageError(
            f"no kprobe can be put at {label}: no instruction begins there, or it is part "
            "of the function's call of ftrace",
            "gdb or objdump shows where instructions begin; return addresses in stacks are such "
            "places, too.",
        )
    told = "; ".join(f"by {way}: {reason(way, error)}" for way, error in refusals)
    log = next((e.log for way, e in refusals if e.log and not _is_machines(way, e)), "")
    if log:
        tail = "\n".join("  | " + line for line in log.strip().splitlines()[-LOG_LINES:])
        return KwalkError(
            f"{label} cannot be traced {told}",
            f"The end of the verifier's log, for a bug report:\n{tail}",
        )
    return NotSupported(
        f"{label} cannot be traced {told}",
        "`kwalk doctor` shows what this kernel offers; `kwalk lab` traces in a virtual machine.",
    )


def _is_machines(way: str, error: LibbpfError) -> bool:
    """The machine, not the program, is what the refusal is about."""
    return error.errno == errno.EPERM or (way in BY_KPROBE and not KPROBE_PMU.exists())


def reason(way: str, error: LibbpfError) -> str:
    """Return why one way of attaching failed, as far as the machine tells."""
    if way in BY_KPROBE and not KPROBE_PMU.exists():
        return "this kernel has no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)"
    if error.errno == errno.EPERM:
        return (
            "the kernel does not permit such a program, whatever the privileges "
            "(a security policy of this machine)"
        )
    return error.what


def _untraceable(name: str, ways: list[str]) -> str:
    if BY_KPROBE & set(ways) and _listed(BLACKLIST, name):
        return "it is on the kernel's kprobe blacklist (NOKPROBE_SYMBOL)"
    if FILTER_FUNCTIONS.exists() and not _listed(FILTER_FUNCTIONS, name):
        return NOTRACE
    return ""


def _listed(path: Path, name: str) -> bool:
    try:
        return re.search(rf"(^|\s){re.escape(name)}(\s|$)", path.read_text()) is not None
    except OSError:
        return False
