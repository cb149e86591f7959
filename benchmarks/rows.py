# SPDX-License-Identifier: MIT
"""CPU time of ``kwalk report``, in each format, for a recording with many rows in its timeline.

    python benchmarks/rows.py [ROWS]

A row is a stack in a second: the default million is 2,000 stacks, each met in 500 seconds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

from kwalk.api.profile import Profile
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Frame, Stack
from kwalk.report.formats import FORMATS

STACKS = 2000
FRAMES = 20
BASE = 0xFFFFFFFF81000000


def recording(seconds: int) -> Profile:
    """Return a profile in which every stack was met in every second."""
    counts = []
    for number in range(STACKS):
        numbers = [0, *(1 + (number * 7 + depth * (number % 97)) % 5000 for depth in range(FRAMES))]
        addresses = tuple(BASE + 16 * each for each in numbers)
        frames = tuple(Frame(f"function{n}", 0, "", BASE + 16 * n) for n in numbers)
        counts.append(Count(Stack(addresses, frames=frames), seconds))
    rows = STACKS * seconds
    timeline = Timeline(
        [float(second + 1) for second in range(seconds)],
        array("I", [second for second in range(seconds) for _ in range(STACKS)]),
        array("I", range(STACKS)) * seconds,
        array("q", [1]) * rows,
    )
    ledger = Ledger(hits=rows, recorded=rows)
    return Profile(counts, Summary("ip_rcv", "manual", "fentry", "6.12", ledger), timeline)


def cpu_seconds(words: list[str]) -> float:
    """Run a command; return its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line for each format."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.rec"
        recording(max(rows // STACKS, 1)).save(path)
        for name in FORMATS:
            words = [sys.executable, "-m", "kwalk", "report", os.fspath(path), "--format", name]
            spent = cpu_seconds([*words, "-o", f"{folder}/out"])
            print(f"{name:<11} {spent:.2f} s", flush=True)


if __name__ == "__main__":
    main()
