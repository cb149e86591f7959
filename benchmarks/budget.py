#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What ``kwalk stream --budget P%`` costs redis, and how near its scaled counts come to the truth.

Each round runs redis three times: not traced; with every call counted, by the command that ran when
it came (redis's two directions); with calls taken under the budget. As root, where nothing else
runs, such as in the lab, whose clock can count instructions:

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
    """What kwalk said of a run of redis.

    :ivar rate: Requests a second.
    :ivar hits: Calls of the function.
    :ivar taken: Calls that it looked at, by the command that ran.
    :ivar cost: A share: what it says of its own cost, where there is a budget.
    """

    rate: float
    hits: int
    taken: Counter[str]
    cost: float

    def calls(self, side: str) -> float:
        """Return how many calls of this side there were, as far as can be told."""
        return self.taken[side] * self.hits / self.taken.total()

    @property
    def ratio(self) -> float:
        """Of the two directions."""
        return self.taken[SIDES[0]] / self.taken[SIDES[1]]


def by_stack(lines: list[dict[str, Any]]) -> Counter[str]:
    """Read what ``kwalk count --per comm`` has written."""
    taken: Counter[str] = Counter()
    for stack in lines[-1]["stacks"]:
        taken[stack["comm"]] += stack["count"]
    return taken


def by_event(lines: list[dict[str, Any]]) -> Counter[str]:
    """Read what ``kwalk stream`` has written."""
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
