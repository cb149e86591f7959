# SPDX-License-Identifier: MIT
"""Tracepoints and samples as selections, beside functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kwalk.abi import NO_ADDRESS, Place
from kwalk.errors import UsageError
from kwalk.kernel.capabilities import unreadable
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.selection import Selection, select
from kwalk.probe.target import Target

EVENTS = Path("/sys/kernel/tracing/events")
_TRACEPOINT = re.compile(r"t:(\w+):(\w+)", re.ASCII)


def is_tracepoint(spelling: str) -> bool:
    """Return whether the user's word means a tracepoint: it begins with ``t:``."""
    return spelling.startswith("t:")


def tracepoint(spelling: str, symbols: Kallsyms) -> Selection:
    """Return the selection of a tracepoint, given as ``t:CATEGORY:NAME``.

    Where tracefs cannot be read, its name is looked up in kallsyms instead.

    :raises UsageError: if the word is malformed or the kernel has no such tracepoint.
    """
    match = _TRACEPOINT.fullmatch(spelling)
    if not match:
        raise UsageError(
            f"{spelling!r} is not the name of a tracepoint",
            "Give one as t:CATEGORY:NAME, such as t:sched:sched_switch, after the folders of "
            f"{EVENTS}.",
        )
    category, name = match[1], match[2]
    unknown = unreadable(EVENTS)
    if not unknown and _is_absent(EVENTS / category / name / "enable"):
        import difflib

        known = [f"{path.parent.name}:{path.name}" for path in EVENTS.glob("*/*/")]
        close = difflib.get_close_matches(f"{category}:{name}", known, n=3, cutoff=0.7)
        hint = f"Did you mean t:{', t:'.join(close)}? " if close else ""
        raise UsageError(
            f"this kernel has no tracepoint {category}:{name}",
            f"{hint}{EVENTS} has a folder for each; loading a module may add more.",
        )
    # DEFINE_TRACE_FN() in include/linux/tracepoint.h. syscalls:* have no function like that.
    if unknown and category != "syscalls" and not symbols.find(f"__traceiter_{name}"):
        raise UsageError(
            f"neither this kernel nor a loaded module has a tracepoint {name}",
            f"It would have a symbol __traceiter_{name}. {EVENTS}, which lists all of them, cannot "
            f"be read: {unknown}.",
        )
    return Selection.one(Target(f"{category}:{name}", NO_ADDRESS, "", event=Place.TRACEPOINT))


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # unknown: attaching will tell
        return False
    return False


def choose(spellings: Sequence[str], frequency: int | None, symbols: Kallsyms) -> Selection:
    """Return the selection for the user's words: functions, a tracepoint, or samples.

    :param frequency: Samples a second of each CPU; None unless samples are wanted.
    :raises UsageError: if the kernel has no such function or tracepoint, or these cannot be
        traced together.
    """
    if (
        bool(frequency)
        + sum(map(is_tracepoint, spellings))
        + (not all(map(is_tracepoint, spellings)))
        > 1
    ):
        raise UsageError(
            "samples, tracepoints and functions cannot be traced together",
            "Run kwalk once for each: functions, one tracepoint, or samples.",
        )
    if frequency:
        return samples(frequency)
    if any(map(is_tracepoint, spellings)):
        return tracepoint(spellings[0], symbols)
    return select(spellings, symbols)


def samples(frequency: int) -> Selection:
    """Return the selection of ``frequency`` samples a second of every CPU."""
    return Selection.one(Target(str(frequency), NO_ADDRESS, "", event=Place.SAMPLE))


# Functions between a tracepoint and the BPF program: kernel/trace/bpf_trace.c, trace_syscalls.c,
# include/trace/bpf_probe.h, include/linux/tracepoint.h.
_TRACERS = re.compile(
    r"bpf_trace_run\d+|__bpf_trace_\w+|__traceiter_\w+|__probestub_\w+|trace_call_bpf\w*"
    r"|perf_trace_\w+|perf_call_bpf_\w+|perf_syscall_\w+|do_perf_trace_\w+"
)


def is_tracer(function: str, module: str) -> bool:
    """Return whether a frame is of a BPF program, or of the code that calls it at a tracepoint."""
    return module == "bpf" or bool(_TRACERS.match(function))
