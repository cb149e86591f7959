#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Events per second that one CPU and all CPUs get through, with a probe and without.

Each CPU reads /dev/zero, a byte at a time, in a process of its own. Where nothing is shared between
CPUs, N of them get through N times as many events. In the lab, on a machine with a core for each:

    kwalk lab run --cpus 2 --parallel -- .venv/bin/python benchmarks/scaling.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from kwalk.capture import Capture
from kwalk.probe.options import ProbeOptions
from kwalk.transport.abi import Method, Output

FUNCTION = "vfs_read"
EVENTS = 300_000
RUNS = 3


def seconds(cpus: Sequence[int]) -> float:
    """Have each of these CPUs read so often, all at once; return how long that took."""
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


def traced(cpus: Sequence[int], method: Method) -> float:
    """Return the rate with every stack counted; each call must have been seen.

    :raises SystemExit: if one was not.
    """
    options = ProbeOptions(method=method, output=Output.COUNT)
    with Capture(FUNCTION, options) as capture:
        best = rate(cpus)
        capture.stop()
        capture.counts()
        summary = capture.summary()
    if summary.ledger.hits < RUNS * len(cpus) * EVENTS or summary.ledger.lost:
        raise SystemExit(
            f"{summary.ledger.hits:,} hits, {summary.ledger.lost} lost: not what was called"
        )
    return best


def main() -> None:
    """Measure and print."""
    every = sorted(os.sched_getaffinity(0))
    if len(every) < 2:
        sys.exit("this machine has one CPU: nothing to compare (kwalk lab run --cpus 2)")
    print(f"calls of {FUNCTION} per second on {os.uname().release}:")
    for name, measure in (
        ("not traced", rate),
        ("manual", lambda cpus: traced(cpus, Method.MANUAL)),
        ("helper", lambda cpus: traced(cpus, Method.HELPER)),
    ):
        one, all_ = measure(every[:1]), measure(every)
        print(f"  {name:11} {one:9,.0f} by 1 CPU, {all_:9,.0f} by {len(every)}: {all_ / one:.2f} x")


if __name__ == "__main__":
    main()
