# SPDX-License-Identifier: MIT
"""What the kernel complains of while something is traced."""

from __future__ import annotations

import subprocess

# An interrupt that came while its CPU went.
_OF_A_CPU_THAT_GOES = ("APIC: Stale IRR",)
# A machine that stands still while its host has other things to do finds that time has passed,
# and says so, whoever traces (kernel/time/hrtimer.c and clocksource.c, kernel/events/core.c,
# kernel/workqueue.c, kernel/sched/rt.c).
_OF_THE_CLOCK = (
    "hrtimer: interrupt took",
    "clocksource: ",
    "perf: interrupt took too long",
    "hogged CPU for",
    "sched: RT throttling activated",
)
_NOT_MEANT = _OF_A_CPU_THAT_GOES + _OF_THE_CLOCK


def forget() -> None:
    """Look at what is said from now on only."""
    subprocess.run(["dmesg", "-C"], check=True)


def complaints() -> list[str]:
    """Return the warnings and errors of the kernel's log."""
    told = subprocess.run(["dmesg", "--level=err,warn"], capture_output=True, text=True, check=True)
    lines = [line for line in told.stdout.splitlines() if line.strip()]
    return [line for line in lines if not any(text in line for text in _NOT_MEANT)]
