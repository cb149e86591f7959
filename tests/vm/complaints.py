# SPDX-License-Identifier: MIT
"""What the kernel complains of while something is traced."""

from __future__ import annotations

import subprocess

# An interrupt that came while its CPU went, and a machine that stood still for seconds because
# its host had other things to do: the kernel says so, whoever traces.
_OF_THE_MACHINE = ("APIC: Stale IRR", "clocksource: Long readout interval")


def forget() -> None:
    """Look at what is said from now on only."""
    subprocess.run(["dmesg", "-C"], check=True)


def complaints() -> list[str]:
    """Return the warnings and errors of the kernel's log."""
    told = subprocess.run(["dmesg", "--level=err,warn"], capture_output=True, text=True, check=True)
    lines = [line for line in told.stdout.splitlines() if line.strip()]
    return [line for line in lines if not any(text in line for text in _OF_THE_MACHINE)]
