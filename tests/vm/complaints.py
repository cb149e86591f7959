# SPDX-License-Identifier: MIT
"""Warnings of the kernel's log during a test."""

from __future__ import annotations

import subprocess

# An interrupt on a CPU that was going offline.
_OF_A_CPU_THAT_GOES = ("APIC: Stale IRR",)
# A guest that its busy host does not run sees jumps in time, and warns of them with or without
# tracing (kernel/time/hrtimer.c and clocksource.c, kernel/events/core.c, kernel/workqueue.c,
# kernel/sched/rt.c).
_OF_THE_CLOCK = (
    "hrtimer: interrupt took",
    "clocksource: ",
    "perf: interrupt took too long",
    "hogged CPU for",
    "sched: RT throttling activated",
)
_NOT_MEANT = _OF_A_CPU_THAT_GOES + _OF_THE_CLOCK


def forget() -> None:
    """Ignore all messages so far."""
    subprocess.run(["dmesg", "-C"], check=True)


def complaints() -> list[str]:
    """Return the warnings and errors of the kernel's log."""
    told = subprocess.run(["dmesg", "--level=err,warn"], capture_output=True, text=True, check=True)
    lines = [line for line in told.stdout.splitlines() if line.strip()]
    return [line for line in lines if not any(text in line for text in _NOT_MEANT)]
