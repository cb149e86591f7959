# SPDX-License-Identifier: MIT
"""What each way to get stacks costs redis: run inside the lab, with ``--icount`` to be repeatable.

Usage: ``kwalk lab run --icount --kernel NAME -- .venv/bin/python benchmarks/run.py [PATTERN...]``

Throughput of ``redis-benchmark -t set`` with BPF statistics off, the median of several rounds that
go through all methods, with a run without tracing before each; then one run with statistics on,
for the instructions (under ``--icount``; nanoseconds otherwise) of one run of the tool's programs.
Prints one JSON object.
"""

from __future__ import annotations

import fnmatch
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import programs
import workload
from methods import METHODS, Method, NotHere

ROUNDS = 3


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def measure(method: Method) -> dict[str, Any]:
    """Run the load once with a method attached."""
    run = method.start()
    try:
        rate = workload.throughput()
    except BaseException:
        run.finish()
        raise
    return run.finish() | {"rps": rate, "attach_seconds": round(run.attach_seconds, 2)}


def cost(method: Method) -> int | None:
    """Return what one run of the method's BPF programs costs, or None if it has none."""
    before = programs.loaded()
    run = method.start()
    programs.count_cost(True)
    workload.throughput()
    found = programs.per_event(before)
    programs.count_cost(False)
    run.finish()
    return found


def main(patterns: list[str]) -> None:
    """Measure the chosen methods, all by default."""
    chosen = [
        method
        for method in METHODS
        if not patterns or any(fnmatch.fnmatch(method.name, pattern) for pattern in patterns)
    ]
    bases: list[float] = []
    found: dict[str, list[dict[str, Any]]] = {method.name: [] for method in chosen}
    rows: dict[str, dict[str, Any]] = {}
    with workload.redis_server():
        workload.throughput()  # warm-up
        for number in range(ROUNDS):
            for method in chosen:
                if method.name in rows:
                    continue
                base = workload.throughput()
                try:
                    one = measure(method)
                except NotHere as reason:
                    rows[method.name] = {"not_run": str(reason)}
                    say(f"{method.name}: {reason}")
                    continue
                bases.append(base)
                one["change"] = round(100 * (one["rps"] / base - 1), 2)
                found[method.name].append(one)
                say(f"{number + 1}/{ROUNDS} {method.name}: {one}")
        for method in chosen:
            if method.name in rows:
                continue
            runs = found[method.name]
            row = {
                "rps": statistics.median(run["rps"] for run in runs),
                "change": statistics.median(run["change"] for run in runs),
                "changes": [run["change"] for run in runs],
                "attach_seconds": statistics.median(run["attach_seconds"] for run in runs),
                "instructions_per_event": cost(method),
            }
            row |= {key: runs[-1][key] for key in runs[-1] if key not in row}
            rows[method.name] = row
    rows = {method.name: rows[method.name] for method in chosen}  # as they are listed
    versions = {method.version() for method in chosen if "not_run" not in rows[method.name]}
    result = {
        "kernel": platform.release(),
        "mitigations": "off" if "mitigations=off" in Path("/proc/cmdline").read_text() else "on",
        "lab": os.environ.get("KWALK_LAB", ""),
        "function": workload.FUNCTION,
        "requests": workload.REQUESTS,
        "rounds": ROUNDS,
        "versions": sorted({workload.version(), *versions}),
        "base_rps": statistics.median(bases),
        "base_spread": [min(bases), max(bases)],
        "rows": rows,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
