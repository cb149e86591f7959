#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Time to attach to many functions, and cost of a call of one of them, by each way.

    kwalk lab run --icount --kernel debian-sid -- python benchmarks/many.py [FUNCTIONS]

The clock counts instructions there. A call's cost is that of a system call while it is traced, less
that of one which is not: trampolines and ftrace's own work are part of it.
"""

from __future__ import annotations

import os
import sys
import time

from kwalk.abi import Method, Output
from kwalk.engine.capture import Capture
from kwalk.errors import KwalkError
from kwalk.kernel import kallsyms_cache
from kwalk.options.probe import ProbeOptions
from kwalk.probe import ftrace_sites
from kwalk.probe.load import image
from kwalk.probe.selection import matching, uncallable

CALLED = "__x64_sys_getpgid"
# What else does not run while this process makes its calls.
QUIET = ("proc_*", "kernfs_*", "tcp_*", "udp_*", "inet_*", "ip_*", "ipv6_*", "xfrm*", "security_*")
CALLS, ROUNDS = 2000, 3


def functions(number: int) -> list[str]:
    """Return the names of this many functions that can be traced, the called one first."""
    symbols = kallsyms_cache.read()
    able = ftrace_sites.read(symbols, image)
    found = {CALLED: None}
    for pattern in QUIET:
        for target in matching(pattern, symbols):
            alone = len(symbols.find(target.name)) == 1
            if alone and not able.why_not(target) and not uncallable(target, symbols):
                found[target.name] = None
    return list(found)[:number]


def call_ns() -> float:
    """Return the least time of a call, in nanoseconds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(CALLS):
            os.getpgid(0)
        best = min(best, (time.process_time_ns() - began) / CALLS)
    return best


def main() -> None:
    """Measure and print."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    names = functions(number)
    plain = call_ns()
    print(f"{len(names):,} functions, on {os.uname().release}; a call without a probe: {plain:.0f}")
    ways = [("fentry", names[:1]), ("kprobe", names[:1])]
    ways += [
        (way, chosen) for way in ("fentry.multi", "kprobe.multi") for chosen in (names[:1], names)
    ]
    ways += [("auto", names)]
    for way, chosen in ways:
        options = ProbeOptions(Method.MANUAL, way, output=Output.COUNT, fast=False)
        began = time.monotonic()
        try:
            with Capture(chosen, options) as capture:
                whole = time.monotonic() - began
                attaching = capture.probe.attached - capture.probe.began
                cost, by, got = call_ns() - plain, capture.probe.attach, capture.probe.functions
        except KwalkError as error:
            print(f"  {way:14} {error.what}")
            continue
        print(
            f"  {way:14} {got:5,} functions by {by:14} attaching {attaching:6.3f} s of "
            f"{whole:6.3f} s, a call costs {cost:6.0f}"
        )


if __name__ == "__main__":
    main()
