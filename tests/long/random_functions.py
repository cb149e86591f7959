# SPDX-License-Identifier: MIT
"""Compare the walk with the kernel's unwinder on functions picked at random, for a long time.

Usage, as root in the lab: ``python tests/long/random_functions.py --seed N``. Prints a line per
function and ends with exit code 1 if any stack differs. Every load of ``tests/vm/workloads`` runs;
the functions are picked from those that they call and that can be traced.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "vm"))

from workloads import ALL

from kwalk.abi import Method
from kwalk.engine.capture import Capture
from kwalk.errors import KwalkError
from kwalk.kernel.features import no_fentry
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.ledger import Summary
from kwalk.options.probe import ProbeOptions
from kwalk.probe.attach_multi import lacks_multi
from kwalk.report import summary as reports
from kwalk.symbolize.symbolizer import Symbolizer

TRACING = Path("/sys/kernel/tracing")
# Per function: enough to see it in many surroundings, and not for ever.
FUNCTION_EVENTS = 10_000
FUNCTION_SECONDS = 4.0
LOADS = 4
Burst = Callable[[], object]


@dataclass
class Total:
    """What all functions together came to."""

    functions: int = 0
    silent: int = 0
    refused: int = 0
    hits: int = 0
    recorded: int = 0
    lost: int = 0
    fallback: int = 0
    checked: int = 0
    mismatches: int = 0
    missing_caller: int = 0
    kernel_wrong: int = 0  # but for stack_switch, the rule for such functions
    stack_switch: int = 0
    taken: int = 0  # by generated programs

    def add(self, summary: Summary) -> None:
        """Add one function's summary."""
        verify, ledger = summary.verify, summary.ledger
        assert verify is not None
        self.functions += bool(verify.checked)
        self.silent += not verify.checked
        self.hits += ledger.hits
        self.recorded += ledger.recorded
        self.lost += sum(ledger.causes.values())
        self.fallback += ledger.fallback
        self.checked += verify.checked
        self.mismatches += verify.mismatches
        self.missing_caller += verify.missing_caller
        self.taken += summary.hot.taken if summary.hot else 0
        switches = verify.kernel_wrong.get("stack_switch", 0)
        self.stack_switch += switches
        self.kernel_wrong += sum(verify.kernel_wrong.values()) - switches


def traceable(symbols: Kallsyms) -> set[str]:
    """Names that are traceable and belong to one function only."""
    lines = (TRACING / "available_filter_functions").read_text().splitlines()
    names = [line.split()[0] for line in lines]
    blacklist = Path("/sys/kernel/debug/kprobes/blacklist").read_text()
    black = {line.split()[-1] for line in blacklist.splitlines()}
    return {name for name in set(names) - black if "." not in name}


def called(bursts: Sequence[Burst]) -> dict[str, list[Burst]]:
    """Functions that the loads call, as ftrace's function tracer sees them in a short look.

    :return: The loads by which each is called, the one with the most calls first.
    """
    calls: dict[str, list[tuple[int, Burst]]] = {}
    (TRACING / "current_tracer").write_text("function")
    try:
        for burst in bursts:
            (TRACING / "trace").write_text("")
            (TRACING / "tracing_on").write_text("1")
            burst()
            (TRACING / "tracing_on").write_text("0")
            with (TRACING / "trace").open() as lines:
                rows = (line.split(": ") for line in lines)
                numbers = Counter(row[-1].split()[0] for row in rows if len(row) > 1)
            for name, number in numbers.items():
                calls.setdefault(name, []).append((number, burst))
    finally:
        (TRACING / "current_tracer").write_text("nop")
        (TRACING / "tracing_on").write_text("1")
    most = {name: sorted(found, key=lambda pair: -pair[0]) for name, found in calls.items()}
    return {name: [burst for _, burst in found] for name, found in most.items()}


def loads(stack: ExitStack) -> Iterator[Burst]:
    """Start every load that this kernel can have."""
    for entry in ALL:
        if not entry.lacks():
            yield stack.enter_context(entry.load())


def compare(function: str, attach: str, bursts: Sequence[Burst]) -> Summary | None:
    """Trace one function; None if the kernel refuses, with the reason printed."""
    try:
        with Capture(function, ProbeOptions(Method.MANUAL, attach, verify=1)) as capture:
            deadline = time.monotonic() + FUNCTION_SECONDS
            number = 0
            for burst in cycle(bursts[:LOADS]):
                burst()
                number += sum(1 for _ in capture.read())
                capture.look()  # programs for the hot stacks are made
                if number >= FUNCTION_EVENTS or time.monotonic() > deadline:
                    break
            capture.stop()
            for _ in capture.read():
                pass
            summary = capture.summary()
            if summary.verify and summary.verify.mismatches:
                print(reports.as_text(summary, Symbolizer(capture.symbols)))
            return summary
    except KwalkError as error:
        print(f"{function:40} {attach:6}  refused: {error.what.splitlines()[0]}", flush=True)
        return None


def line(function: str, summary: Summary) -> str:
    """Return one function's figures."""
    verify, ledger = summary.verify, summary.ledger
    assert verify is not None
    lost = sum(ledger.causes.values())
    return (
        f"{function:40} {summary.attach:6} {ledger.hits:8} hits {verify.checked:8} checked "
        f"{verify.mismatches} mismatches {ledger.fallback} fallback {lost} lost"
        f" {summary.hot.taken if summary.hot else 0} by generated programs"
        + "".join(f" {number} {cause}" for cause, number in verify.kernel_wrong.items())
    )


def ways(symbols: Kallsyms) -> list[str]:
    """Ways of attaching to one function that this kernel has."""
    found = ["kprobe"]
    if not no_fentry(symbols):
        found.append("fentry")
    # x86-64's is compared in tests/vm/test_many.py.
    if platform.machine() == "aarch64" and not lacks_multi("kprobe.multi", symbols):
        found.append("kprobe.multi")
    return found


def complaints() -> str:
    """Return the kernel's warnings so far."""
    return subprocess.run(
        "dmesg | grep -E 'WARNING|BUG:|Oops|unwind stack type|stack going'",
        shell=True, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def main() -> int:
    """Run until there are enough functions and enough comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--functions", type=int, default=60)
    parser.add_argument("--events", type=int, default=260_000)
    parser.add_argument("--seconds", type=float, default=1500)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    print(f"{platform.release()}  seed {args.seed}", flush=True)
    total = Total()
    started = time.monotonic()
    with ExitStack() as stack:
        bursts = list(loads(stack))
        calls = called(bursts)
        before = complaints()  # of the function tracer itself, where RCU is not watching
        symbols = Kallsyms.read()
        names, able = sorted(calls.keys() & traceable(symbols)), ways(symbols)
        chance.shuffle(names)
        print(f"{len(bursts)} loads call {len(names)} functions that can be traced", flush=True)
        for function in names:
            enough = total.functions >= args.functions and total.checked >= args.events
            if enough or time.monotonic() - started > args.seconds:
                break
            attach = chance.choice(able)
            summary = compare(function, attach, calls[function])
            if summary is None:
                total.refused += 1
                continue
            total.add(summary)
            print(line(function, summary), flush=True)
    print(f"total: {total}  {time.monotonic() - started:.0f} s", flush=True)
    warnings = complaints().removeprefix(before)
    print(f"dmesg: {warnings or 'nothing'}", flush=True)
    balanced = total.hits == total.recorded + total.lost
    # What was not compared, or is excused by a fault of the kernel's, must be the rare exception.
    exceptions = total.fallback + total.kernel_wrong
    good = not total.mismatches and balanced and not warnings and exceptions < total.checked / 1000
    enough = total.functions >= args.functions and total.checked >= args.events
    return 0 if good and enough else 1


if __name__ == "__main__":
    sys.exit(main())
