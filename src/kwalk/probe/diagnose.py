# SPDX-License-Identifier: MIT
"""Diagnosis of a refused attachment, from the kernel's error and the kernel's own lists."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from enum import Enum
from pathlib import Path

from kwalk.arch import here
from kwalk.errors import KwalkError, NotSupported, UsageError
from kwalk.kernel import capabilities
from kwalk.kernel.shortage import Shortage
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.perf import refuses_all
from kwalk.probe.attach import EVENT_WAYS, TRAMPOLINES
from kwalk.probe.attach_multi import OF_FUNCTION, TRACING_MULTI
from kwalk.probe.ftrace_sites import NOTRACE
from kwalk.probe.selection import Selection

BLACKLIST = Path("/sys/kernel/debug/kprobes/blacklist")
FILTER_FUNCTIONS = Path("/sys/kernel/tracing/available_filter_functions")
LOG_LINES = 12
BY_KPROBE = {"kprobe", "kretprobe"}
# Ways that open a perf event: perf_event_paranoid and CAP_PERFMON apply.
BY_EVENT = {*BY_KPROBE, "tracepoint", "perf_event"}
# BPF_MAX_TRAMP_LINKS in include/linux/bpf.h, BPF_TRACE_MAX_PROGS in kernel/trace/bpf_trace.c
_MOST_PROGRAMS = {
    **dict.fromkeys({*TRAMPOLINES, *TRACING_MULTI}, "38 programs by fentry and fexit"),
    "tracepoint": "64 programs by perf events",
}
_EVENTS = {way for ways in EVENT_WAYS.values() for way in ways}


class Listed(Enum):
    """Whether a list of the kernel has a name; unknown if the list cannot be read."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


def explain(
    selection: Selection, refusals: Sequence[tuple[str, LibbpfError]], aliases: Sequence[str] = ()
) -> KwalkError:
    """Return the error to raise when every way of attaching was refused.

    :param refusals: Each way that was tried, with libbpf's error; at least one.
    :param aliases: All names of the function, of which the kernel's lists have only one; empty
        for tracepoints and samples.
    """
    target, label = selection.targets[0], selection.label
    told = "; ".join(f"by {way}: {reason(way, error)}" for way, error in refusals)
    what = f"{label} cannot be traced {told}"
    for _, error in refusals:
        if error.is_shortage:
            return Shortage(what, error.hint or "Trace fewer functions.")
    hints = []
    if len(selection.targets) == 1 and not _EVENTS & {way for way, _ in refusals}:
        why, unknown = _of_function({target.name, *aliases}, target.name, refusals)
        if why:
            return UsageError(
                f"{what}; {why}", "Trace a function that it calls, or one of its callers."
            )
        hints += unknown
    if any(error.errno == errno.ENODEV for _, error in refusals) and _ftrace_is_down():
        return NotSupported(
            f"{what}; the kernel has shut ftrace down until the next boot "
            f"({FILTER_FUNCTIONS}: {os.strerror(errno.ENODEV)})",
            "A warning of ftrace's in dmesg says why. Tracepoints, samples and places inside "
            "functions (FUNC+OFFSET) do not go through ftrace.",
        )
    if target.offset and any(error.errno == here().misplaced for _, error in refusals):
        return UsageError(
            f"{what}: no instruction begins there, or it is part of the function's call of ftrace",
            "gdb or objdump shows where instructions begin; return addresses in stacks are such "
            "places, too.",
        )
    log = next((error.log for _, error in refusals if error.log and not _is_denied(error)), "")
    if log:
        tail = "\n".join("  | " + line for line in log.strip().splitlines()[-LOG_LINES:])
        return KwalkError(what, f"The end of the verifier's log, for a bug report:\n{tail}")
    hints += dict.fromkeys(error.hint for _, error in refusals if error.hint)
    hints.append(
        "`kwalk doctor` shows what this kernel offers; `kwalk lab` traces in a virtual machine."
    )
    return NotSupported(what, "\n  ".join(hints))


def _is_denied(error: LibbpfError) -> bool:
    return error.errno == errno.EPERM


def reason(way: str, error: LibbpfError) -> str:
    """Return why a way of attaching was refused: libbpf's error, and the missing permission."""
    if error.errno == errno.E2BIG and not error.log and way in _MOST_PROGRAMS:
        return (
            f"{error.what}: the kernel's limit is {_MOST_PROGRAMS[way]} at one place, including "
            "programs of other tools (`bpftool link` lists them)"
        )
    if error.errno not in (errno.EPERM, errno.EACCES) or (error.log and not _is_denied(error)):
        return error.what
    why = capabilities.denied(events=way in BY_EVENT and refuses_all(), files=way == "tracepoint")
    why = why or "a policy of this machine (lockdown, LSM, seccomp) may forbid it, even to root"
    return f"{error.what}: {why}"


def _of_function(
    names: Collection[str], name: str, refusals: Sequence[tuple[str, LibbpfError]]
) -> tuple[str, list[str]]:
    """Return why the kernel's lists rule a function out, or "", and a hint per unreadable list."""
    said = {way for way, error in refusals if error.errno in OF_FUNCTION}
    lists = []
    if BY_KPROBE & said:
        no_probe = "it is on the kernel's kprobe blacklist (NOKPROBE_SYMBOL)"
        lists.append((BLACKLIST, Listed.YES, no_probe))
    if said:
        lists.append((FILTER_FUNCTIONS, Listed.NO, NOTRACE))
    unknown = []
    for path, against, why in lists:
        found, error = _listed(path, names)
        if found is against:
            return f"{why}, says {path}", []
        if found is Listed.UNKNOWN:
            unknown.append(f"{path} could not be read ({error}): whether it has {name} is unknown.")
    return "", unknown


def _ftrace_is_down() -> bool:
    """Return whether ftrace has disabled itself: its files then answer ENODEV.

    ftrace_avail_open() in kernel/trace/ftrace.c.
    """
    return capabilities.unreadable(FILTER_FUNCTIONS) == os.strerror(errno.ENODEV)


def _listed(path: Path, names: Collection[str]) -> tuple[Listed, str]:
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return Listed.UNKNOWN, error.strerror or str(error)
    if not text:
        return Listed.UNKNOWN, "it is empty"
    found = not set(text.split()).isdisjoint(names)
    return (Listed.YES if found else Listed.NO), ""
