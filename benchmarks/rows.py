# SPDX-License-Identifier: MIT
"""CPU time and memory of ``kwalk report`` and ``kwalk diff``, by format, for many rows.

    python benchmarks/rows.py [ROWS] [SHAPE ...]

The default million rows has one of these shapes:

- ``timeline``: 2,000 stacks, each met in 500 seconds;
- ``groups``: 1,000 stacks, each met in 1,000 processes;
- ``stacks``: as many stacks, in a tree of calls that branches tenfold at six depths.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from kwalk.api.profile import Profile
from kwalk.cli.commands import diff
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.report.formats import FORMATS

FRAMES = 20
BASE = 0xFFFFFFFF81000000
SECONDS = 10.0


def profile(counts: list[Count], timeline: Timeline) -> Profile:
    """Return a profile of counts without losses."""
    hits = sum(count.count for count in counts)
    ledger = Ledger(hits=hits, recorded=hits)
    return Profile(counts, Summary("ip_rcv", "manual", "fentry", "6.12", ledger), timeline)


def stack(numbers: Iterable[int]) -> Stack:
    """Return a stack of numbered functions, the traced function first."""
    frames = tuple(Frame(f"function{n}", 0x1F, "", BASE + 16 * n) for n in (0, *numbers))
    return Stack(tuple(frame.address for frame in frames), frames=frames)


def few(number: int) -> Stack:
    """Return one of a few thousand stacks."""
    return stack(1 + (number * 7 + depth * (number % 97)) % 5000 for depth in range(FRAMES))


def timeline(rows: int) -> Profile:
    """Return a profile in which every stack was met in every second."""
    stacks = 2000
    seconds = max(rows // stacks, 1)
    ends = [float(second + 1) for second in range(seconds)]
    intervals = array("I", [second for second in range(seconds) for _ in range(stacks)])
    columns = array("I", range(stacks)) * seconds, array("q", [1]) * (stacks * seconds)
    counts = [Count(few(number), seconds) for number in range(stacks)]
    return profile(counts, Timeline(ends, intervals, *columns))


def groups(rows: int) -> Profile:
    """Return a profile in which every stack was met in every process."""
    each = [Group("pid", 1000 + n, f"worker/{n % 40}") for n in range(max(rows // 1000, 1))]
    counts = [
        Count(found, 1 + (number * 31 + place * 17) % 997, group)
        for number, found in enumerate(map(few, range(1000)))
        for place, group in enumerate(each)
    ]
    return profile(counts, Timeline.one_interval(counts, SECONDS))


def stacks(rows: int) -> Profile:
    """Return a profile in which every count is of another stack."""

    def path(row: int) -> list[int]:
        digits = [row // 10 ** (6 - max(0, (depth - 2) // 3)) % 10 for depth in range(FRAMES + 1)]
        return [40 * depth + 10 * (depth % 2) + digits[depth] for depth in range(1, FRAMES + 1)]

    counts = [Count(stack(path(row)), 1 + row * 31 % 997) for row in range(rows)]
    return profile(counts, Timeline.one_interval(counts, SECONDS))


SHAPES: dict[str, Callable[[int], Profile]] = {
    "timeline": timeline,
    "groups": groups,
    "stacks": stacks,
}


def save(shape: str, rows: int, path: str) -> None:
    """Save a profile of a shape."""
    SHAPES[shape](rows).save(path)


def used(words: list[str]) -> tuple[float, float]:
    """Run a command; return its CPU time in seconds and its most memory in MiB."""
    pid = subprocess.Popen(words).pid
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a line for each shape and format."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path, out = str(Path(folder) / "rows.rec"), Path(folder) / "out"
        for shape in sys.argv[2:] or SHAPES:
            # A process of its own: memory at its start counts for a command, too.
            maker = multiprocessing.get_context("spawn").Process(
                target=save, args=(shape, rows, path)
            )
            maker.start()
            maker.join()
            commands = [["report", path, "--format", name] for name in FORMATS]
            commands += [["diff", path, path, "--format", name] for name in diff.FORMATS]
            for command in commands:
                spent, most = used([sys.executable, "-m", "kwalk", *command, "-o", str(out)])
                size = out.stat().st_size / 1e6
                print(
                    f"{shape:<9} {command[0]:<6} {command[-1]:<11} {spent:6.2f} s "
                    f"{most:5.0f} MiB, {size:7.1f} MB written",
                    flush=True,
                )


if __name__ == "__main__":
    main()
