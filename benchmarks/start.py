#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""CPU time from start until attached, of kwalk and of bpftrace.

Run it in the lab, on a freshly booted kernel whose clock counts instructions:

    kwalk lab run --icount -- .venv/bin/python benchmarks/start.py ip_rcv
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ENABLED = Path("/sys/kernel/tracing/enabled_functions")
KPROBES = Path("/sys/kernel/debug/kprobes/list")
RUNS = 3


def listed(function: str, path: Path) -> bool:
    """Return whether a list of the kernel has this function as a word."""
    return any(function in line.replace("+", " ").split() for line in path.read_text().splitlines())


def attached(function: str, pid: int) -> bool:
    """Return whether a process has attached to a function, at next to no cost."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(fd) == "anon_inode:bpf_link":
                return True
    return listed(function, KPROBES)


def seconds_until_attached(function: str, command: Sequence[str]) -> float:
    """Start a command, end it as soon as the function is traced; return its CPU time in seconds."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        while not attached(function, process.pid):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended before it had attached to {function}")
            time.sleep(0.005)
        # Documentation/scheduler/sched-stats.rst: nanoseconds on a CPU
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        spent = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
        time.sleep(0.05)
        if not listed(function, ENABLED):
            raise SystemExit(f"{command[0]} has attached, but not to {function}")
        return spent
    finally:
        process.terminate()
        process.wait()
        while listed(function, ENABLED):
            time.sleep(0.01)


def main() -> None:
    """Measure and print."""
    function = sys.argv[1] if len(sys.argv) > 1 else "ip_rcv"
    commands = {"kwalk": [str(Path(sys.prefix) / "bin" / "kwalk"), function]}
    if path := shutil.which("bpftrace"):
        commands["bpftrace"] = [path, "-e", f"kprobe:{function} {{ @[kstack] = count(); }}"]
    print(f"CPU time until {function} is traced, on {os.uname().release}:")
    for name, command in commands.items():
        first, *later = (seconds_until_attached(function, command) for _ in range(RUNS))
        print(f"  {name:9} {min(later):.2f} s, at the first start after boot {first:.2f} s")


if __name__ == "__main__":
    main()
