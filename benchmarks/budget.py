#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Overhead of ``kwalk stream --budget P%`` for redis, and the error of its scaled counts.

Each round runs redis three times: untraced; with every call counted by command (redis's two
directions); with calls sampled under the budget. Run it as root on an idle machine, such as the
lab, whose clock can count instructions:

    kwalk lab run --icount -- .venv/bin/python benchmarks/budget.py [P% [REQUESTS [RUNS]]]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from kwalk.bench import workload
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process
from kwalk.bench.workload import Workload

FUNCTION = "ip_rcv"
SIDES = ("redis-server", "redis-benchmark")


class Seen(NamedTuple):
    """Results of kwalk for a run of redis.

    :ivar rate: Requests a second.
    :ivar hits: Calls of the function.
    :ivar taken: Recorded calls by command.
    :ivar cost: Overhead that it reports with a budget, as a share of 1.
    """

    rate: float
    hits: int
    taken: Counter[str]
    cost: float

    def calls(self, side: str) -> float:
        """Return the estimated calls of this direction."""
        return self.taken[side] * self.hits / self.taken.total()

    @property
    def ratio(self) -> float:
        """Return the ratio of the two directions."""
        return self.taken[SIDES[0]] / self.taken[SIDES[1]]


def by_stack(lines: list[dict[str, Any]]) -> Counter[str]:
    """Parse the output of ``kwalk count --per comm``."""
    taken: Counter[str] = Counter()
    for stack in lines[-1]["stacks"]:
        taken[stack["comm"]] += stack["count"]
    return taken


def by_event(lines: list[dict[str, Any]]) -> Counter[str]:
    """Parse the output of ``kwalk stream``."""
    return Counter(line["comm"] for line in lines[:-1])


def run(
    load: Workload, words: list[str], read: Callable[[list[dict[str, Any]]], Counter[str]]
) -> Seen:
    """Run redis with a command of kwalk attached.

    :raises SystemExit: if calls were lost.
    """
    command = [sys.executable, "-m", "kwalk", *words, "--format", "json"]
    out: list[str] = []

    def keep(process: Process) -> Outcome:
        out.append(process.out())
        return Outcome(0, 0, 0)

    running = Process(command, lambda it: "Ctrl-C ends" in it.err(), keep)
    try:
        rate = load.run().rate
        running.finish()
    finally:
        running.kill()
    lines = [json.loads(line) for line in out[0].splitlines()]
    ledger = lines[-1]["ledger"]
    lost = ledger["lost"]
    taken = read(lines)
    if lost or taken.total() != ledger["recorded"]:
        raise SystemExit(f"{taken.total():,} of {ledger['recorded']:,} shown, lost: {lost}")
    return Seen(rate, ledger["hits"], taken, lines[-1].get("sampling", {}).get("cost", 0.0))


def main(budget: str = "2%", requests: str = "200000", runs: str = "3") -> None:
    """Measure and print."""
    with workload.redis(int(requests)) as load:
        load.run()
        for number in range(int(runs)):
            base = load.run().rate
            every = run(load, ["count", FUNCTION, "--per", "comm"], by_stack)
            some = run(load, ["stream", FUNCTION, "--budget", budget], by_event)
            print(
                f"{number + 1}: count {100 * (every.rate / base - 1):+.1f} %, "
                f"stream --budget {budget} {100 * (some.rate / base - 1):+.1f} % "
                f"(it says {100 * some.cost:.1f} %), {some.taken.total():,} of {some.hits:,} taken"
            )
            for side in SIDES:
                true, told = every.calls(side), some.calls(side)
                print(f"   {side}: {told:,.0f} of {true:,.0f}, {100 * (told / true - 1):+.1f} %")
            off = 100 * (some.ratio / every.ratio - 1)
            print(
                f"   directions: {some.ratio:.4f}, in truth {every.ratio:.4f}, {off:+.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
