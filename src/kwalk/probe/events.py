# SPDX-License-Identifier: MIT
"""What is traced besides functions: tracepoints, and samples of what CPUs do."""

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
    """Whether it is spelt like one, ``t:...``."""
    return spelling.startswith("t:")


def tracepoint(spelling: str, symbols: Kallsyms) -> Selection:
    """Return the tracepoint that a user named: ``t:sched:sched_switch``.

    Where tracefs may not be read, its name is looked up among the kernel's symbols.

    :raises UsageError: if there is none of that name.
    """
    match = _TRACEPOINT.fullmatch(spelling)
    if not match:
        raise UsageError(
            f"{spelling!r} is not the name of a tracepoint",
            "Give one as t:CATEGORY:NAME, such as t:sched:sched_switch, as the folders of "
            f"{EVENTS} are called.",
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
            f"{hint}The folders of {EVENTS} are all there are; modules may bring more.",
        )
    # DEFINE_TRACE_FN() in include/linux/tracepoint.h; those of system calls are no tracepoints.
    if unknown and category != "syscalls" and not symbols.find(f"__traceiter_{name}"):
        raise UsageError(
            f"this kernel has no tracepoint {name}, nor has a loaded module",
            f"Its symbols would have __traceiter_{name}. {EVENTS}, where categories are, cannot be "
            f"read: {unknown}.",
        )
    return Selection.one(Target(f"{category}:{name}", NO_ADDRESS, "", event=Place.TRACEPOINT))


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # nobody can tell: attaching will
        return False
    return False


def choose(spellings: Sequence[str], frequency: int | None, symbols: Kallsyms) -> Selection:
    """Return what a user wants traced: functions, a tracepoint, or samples.

    :param frequency: Of samples, in a second; None where there are to be none.
    :raises UsageError: if it is not there, or cannot be traced together.
    """
    if (
        bool(frequency)
        + sum(map(is_tracepoint, spellings))
        + (not all(map(is_tracepoint, spellings)))
        > 1
    ):
        raise UsageError(
            "samples, tracepoints and functions cannot be traced together",
            "Trace functions, or one tracepoint, or samples at a time.",
        )
    if frequency:
        return samples(frequency)
    if any(map(is_tracepoint, spellings)):
        return tracepoint(spellings[0], symbols)
    return select(spellings, symbols)


def samples(frequency: int) -> Selection:
    """Return the selection of so many samples a second of every CPU."""
    return Selection.one(Target(str(frequency), NO_ADDRESS, "", event=Place.SAMPLE))


# What stands between a tracepoint and the program: kernel/trace/bpf_trace.c, trace_syscalls.c,
# include/trace/bpf_probe.h, include/linux/tracepoint.h.
_TRACERS = re.compile(
    r"bpf_trace_run\d+|__bpf_trace_\w+|__traceiter_\w+|__probestub_\w+|trace_call_bpf\w*"
    r"|perf_trace_\w+|perf_call_bpf_\w+|perf_syscall_\w+|do_perf_trace_\w+"
)


def is_tracer(function: str, module: str) -> bool:
    """Whether a frame belongs to what calls a program at a tracepoint, or to a program."""
    return module == "bpf" or bool(_TRACERS.match(function))
