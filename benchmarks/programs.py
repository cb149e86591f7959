# SPDX-License-Identifier: MIT
"""What BPF programs cost, as the kernel counts it: ``kernel.bpf_stats_enabled``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
_TOOL = "/usr/sbin/bpftool"


def count_cost(on: bool) -> None:
    """Have the kernel measure every run of a program, which costs a little itself."""
    _SWITCH.write_text("01"[on])


def loaded() -> dict[int, tuple[int, int]]:
    """Return each program's time (instructions under ``--icount``) and its runs, by id."""
    words = [_TOOL, "-j", "prog", "show"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {p["id"]: (p.get("run_time_ns", 0), p.get("run_cnt", 0)) for p in json.loads(out)}


def per_event(before: dict[int, tuple[int, int]]) -> int | None:
    """Return the cost of one run of the programs that were not there before; None if none ran."""
    new = [cost for number, cost in loaded().items() if number not in before]
    runs = max((runs for _, runs in new), default=0)
    return round(sum(time for time, _ in new) / runs) if runs else None
