#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Events per second of each CPU alone and of all at once, with and without a probe.

Each CPU reads /dev/zero, a byte at a time, in a process of its own. If CPUs share nothing, all at
once make as many events as each alone, added up. It measures time, which other work of the machine
affects: compare with the untraced figures. In the lab, on a machine with a core for each:

    kwalk lab run --cpus 2 --parallel -- .venv/bin/python benchmarks/scaling.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from kwalk.abi import Method, Output
from kwalk.engine.capture import Capture
from kwalk.options.probe import ProbeOptions

FUNCTION = "vfs_read"
EVENTS = 1_000_000
RUNS = 2


def seconds(cpus: Sequence[int]) -> float:
    """Make each of these CPUs read so often, all at once; return the seconds taken."""
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", f"count={EVENTS}"]
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            command,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda cpu=cpu: os.sched_setaffinity(0, {cpu}),  # type: ignore[misc]
        )
        for cpu in cpus
    ]
    for process in processes:
        process.wait()
    return time.monotonic() - started


def rate(cpus: Sequence[int]) -> float:
    """Return the best rate of some runs, in events per second."""
    return max(len(cpus) * EVENTS / seconds(cpus) for _ in range(RUNS))


def rates(cpus: Sequence[int]) -> tuple[float, float]:
    """Return the rates of each CPU alone, added up, and of all at once."""
    return sum(rate([cpu]) for cpu in cpus), rate(cpus)


def traced(cpus: Sequence[int], method: Method) -> tuple[float, float]:
    """Return the rates with every stack counted, checking that no call was lost.

    :raises SystemExit: if calls were lost.
    """
    options = ProbeOptions(method=method, output=Output.COUNT)
    with Capture(FUNCTION, options) as capture:
        found = rates(cpus)
        capture.stop()
        capture.counts()
        summary = capture.summary()
    if summary.ledger.hits < 2 * RUNS * len(cpus) * EVENTS or summary.ledger.lost:
        raise SystemExit(
            f"{summary.ledger.hits:,} hits, {summary.ledger.lost} lost: not the number of calls"
        )
    return found


def main() -> None:
    """Measure and print."""
    every = sorted(os.sched_getaffinity(0))
    if len(every) < 2:
        sys.exit("this machine has one CPU: nothing to compare (kwalk lab run --cpus 2 --parallel)")
    print(f"calls of {FUNCTION} per second on {os.uname().release}:")
    for name, measure in (
        ("not traced", rates),
        ("manual", lambda cpus: traced(cpus, Method.MANUAL)),
        ("helper", lambda cpus: traced(cpus, Method.HELPER)),
    ):
        alone, together = measure(every)
        print(
            f"  {name:11} {alone:9,.0f} by {len(every)} CPUs one after the other, "
            f"{together:9,.0f} at once: {100 * together / alone:.0f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
