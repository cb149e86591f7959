# SPDX-License-Identifier: MIT
"""Kernel switches that silently keep attached probes from firing.

Functions return None if the switch is on, or if its state is unknown.
"""

from __future__ import annotations

import errno
from pathlib import Path

from kwalk.errors import NotSupported

FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
SAMPLE_RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")
SCHEDSTATS = Path("/proc/sys/kernel/sched_schedstats")
# Guarded by schedstat_enabled() in kernel/sched/stats.c.
SCHEDSTAT_EVENTS = frozenset(
    f"sched:sched_stat_{name}" for name in ("wait", "sleep", "iowait", "blocked")
)
_MEANWHILE = (
    "Tracepoints (t:sched:sched_switch), samples (--freq 99) and instructions inside functions "
    "(FUNC+0x1f) can be traced meanwhile."
)


class SwitchedOff(NotSupported):
    """A kernel switch keeps a probe from firing."""


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def ftrace() -> SwitchedOff | None:
    """Return why ftrace runs no programs; None if it does.

    fentry, fexit, kprobe.multi, and kprobes at the first instruction depend on ftrace. Attaching
    while it is off can make the kernel shut it down until the next boot (ftrace_bug() in
    kernel/trace/ftrace.c, seen on 6.12).
    """
    try:
        is_off = FTRACE.read_text().strip() == "0"
    except OSError as error:
        if error.errno != errno.ENODEV:
            return None
        # ENODEV while ftrace_disabled is set (kernel/trace/ftrace.c).
        return SwitchedOff(
            "the kernel has shut ftrace, which runs such probes, down until the next boot",
            f"dmesg has the reason. {_MEANWHILE}",
        )
    if not is_off:
        return None
    return SwitchedOff(
        "ftrace, which runs such probes, is switched off (kernel.ftrace_enabled is 0)",
        f"Switch it on: sysctl kernel.ftrace_enabled=1. {_MEANWHILE}",
    )


def kprobes() -> SwitchedOff:
    """Return the error for kernels with ``kprobes_all_disarmed`` set (kernel/kprobes.c)."""
    return SwitchedOff(
        "kprobes are switched off (/sys/kernel/debug/kprobes/enabled is 0)",
        "Switch them on: echo 1 > /sys/kernel/debug/kprobes/enabled "
        "(mount -t debugfs none /sys/kernel/debug, if it is not there).",
    )


def samples(frequency: int) -> SwitchedOff | None:
    """Return why the kernel does not take ``frequency`` samples a second; None if it does."""
    most = _number(SAMPLE_RATE)
    if most is None or most >= frequency:
        return None
    return SwitchedOff(
        f"the kernel takes at most {most:,} samples a second "
        f"(kernel.perf_event_max_sample_rate is {most})",
        f"Ask for no more (--freq {most}), or raise it: sysctl "
        f"kernel.perf_event_max_sample_rate={frequency}.",
    )


def tracepoint(name: str) -> SwitchedOff | None:
    """Return why the kernel does not reach a tracepoint; None if it does.

    :param name: ``GROUP:NAME``, such as ``sched:sched_switch``.
    """
    if name not in SCHEDSTAT_EVENTS or _number(SCHEDSTATS) != 0:
        return None
    return SwitchedOff(
        f"the scheduler's statistics are switched off (kernel.sched_schedstats is 0), and {name} "
        "is a part of them",
        "Switch them on: sysctl kernel.sched_schedstats=1.",
    )
