# SPDX-License-Identifier: MIT
"""Keep what tracing costs under a budget: look at fewer calls, chosen at random."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kwalk.engine.capture import Capture
from kwalk.model.ledger import Sampling, Summary
from kwalk.options.keywords import FIRST_CHANCE

STEP_SECONDS = 0.5
SAY_SECONDS = 5.0
# Aim lower than allowed: the load changes between two steps.
AIM = 0.9
FASTEST_RISE = 2.0
LEAST_CHANCE = 1e-5
# What a call costs that is left alone: to get into the program, by each way, and out again. Those
# of fentry and kprobe are measured (under the lab's --icount; about the same in nanoseconds on a
# machine of today), the others estimated from what more the kernel does there, rather too high.
CALL_NS = {
    "fentry": 220.0,
    "fexit": 320.0,
    "kprobe": 420.0,
    "kprobe.multi": 420.0,
    "kretprobe": 900.0,
    "kretprobe.multi": 900.0,
    "raw_tp": 220.0,
    "tracepoint": 600.0,
    "perf_event": 3000.0,
}
_STAT = Path("/proc/stat")
_TICK_NS = 10_000_000  # USER_HZ is 100 everywhere


class BudgetReading(NamedTuple):
    """Counters that only go up; all times in nanoseconds.

    :ivar taken: Spent on the calls that were taken.
    :ivar busy: CPU time that the whole machine has used.
    :ivar reader: CPU time that this process has used.
    """

    hits: int
    out: int
    taken: int
    busy: int
    reader: int


class Shares(NamedTuple):
    """What tracing cost, as shares of the CPU time that the machine used.

    :ivar programs: On every call that the function got.
    :ivar reader: In this process.
    """

    programs: float
    reader: float


class Step(NamedTuple):
    """What a step came to.

    :ivar cost: Of tracing, as a share of the CPU time that the machine used.
    :ivar chance: To be taken, for each call from now on; 0 where even that is too much.
    """

    cost: float
    chance: float


def shares(before: BudgetReading, now: BudgetReading, call_ns: float) -> Shares:
    """Return what tracing cost between two readings.

    :param call_ns: What any call costs.
    """
    hits, _, taken_ns, busy, reader = (b - a for a, b in zip(before, now, strict=True))
    if busy <= 0:
        return Shares(0.0, 0.0)
    return Shares((hits * call_ns + taken_ns) / busy, reader / busy)


def step(
    before: BudgetReading, now: BudgetReading, chance: float, budget: float, call_ns: float
) -> Step:
    """Decide how many calls to take from now on.

    :param chance: The one so far.
    :param budget: A share of the CPU time that the machine uses.
    :param call_ns: What any call costs.
    """
    hits, out, taken_ns, busy, reader = (b - a for a, b in zip(before, now, strict=True))
    if not hits or busy <= 0:
        return Step(0.0, min(1.0, chance * FASTEST_RISE))
    floor = hits * call_ns
    taken = max(hits - out, 1)
    more = taken_ns + reader  # what is there only because calls are taken
    cost = sum(shares(before, now, call_ns))
    allowed = AIM * budget * busy - floor
    if allowed <= 0:
        return Step(cost, 0.0)
    wanted = allowed / (hits * more / taken) if more else 1.0
    return Step(cost, max(LEAST_CHANCE, min(1.0, wanted, chance * FASTEST_RISE)))


def busy_ns(text: str) -> int:
    """Return the CPU time that all CPUs have used, of the contents of /proc/stat."""
    user, nice, system, _, _, irq, softirq = map(int, text.split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK_NS


def read(capture: Capture) -> BudgetReading:
    """Return what the counters of a capture, and of the machine, say now."""
    return BudgetReading(*capture.seen(), busy_ns(_STAT.read_text()), time.process_time_ns())


class Budget:
    """Watches a capture and sets its chance; one that is never kept, or can't be told, ends it.

    :param share: The budget, such as 0.02.
    :param spent: Returns the CPU time, in nanoseconds, that went into reading; None where that is
        all of this process's.
    :ivar say: Is told what is going on, now and then.
    """

    def __init__(
        self,
        capture: Capture,
        share: float,
        say: Callable[[str], object] = lambda text: None,
        spent: Callable[[], int] | None = None,
    ) -> None:
        self._capture = capture
        self._spent = spent
        self._share = share
        self._chance = FIRST_CHANCE
        self._call_ns = CALL_NS[capture.probe.attach]
        self.say = say
        self.too_much = False
        self._blind = ""  # why its counters can be read no more
        self._first = self._before = self._read()
        self._due = time.monotonic() + STEP_SECONDS
        self._say_at = 0.0

    def _read(self) -> BudgetReading:
        now = read(self._capture)
        return now._replace(reader=self._spent()) if self._spent else now

    def _step(self, before: BudgetReading, now: BudgetReading) -> Step:
        return step(before, now, self._chance, self._share, self._call_ns)

    def tend(self) -> bool:
        """Set the chance anew, if it is time for that; return False if it is time to give up."""
        at = time.monotonic()
        if at < self._due:
            return True
        self._due = at + STEP_SECONDS
        try:
            now = self._read()
        except OSError as error:
            self._blind = str(error)
            self.say(self.text(0.0))
            return False
        found = self._step(self._before, now)
        self._before = now
        # In two steps one after the other: nothing that can be chosen is cheap enough.
        self.too_much = not found.chance and self._chance <= LEAST_CHANCE
        self._chance = found.chance or LEAST_CHANCE
        self._capture.sample(self._chance)
        if self.too_much or at >= self._say_at:
            self._say_at = at + SAY_SECONDS
            self.say(self.text(found.cost))
        return not self.too_much

    def text(self, cost: float) -> str:
        """Return what is going on, in a line."""
        budget = f"budget {100 * self._share:g} %"
        if self._blind:
            return f"{budget}: overhead can no longer be measured ({self._blind}): detached"
        share = f"{budget}: overhead about {100 * cost:.1f} %"
        if self.too_much:
            return f"{share}, even with next to no call recorded: detached"
        if self._chance >= 1:
            return f"{share}, every call is recorded"
        return f"{share}, one call in {1 / self._chance:,.0f} is recorded"

    def report(self, summary: Summary) -> None:
        """Write into the summary how it was kept, once the capture has stopped."""
        try:
            last = self._read()
        except OSError:
            last = self._before
        cost = self._step(self._first, last).cost
        summary.sampling = Sampling(self._share, cost, self._capture.scale)
        if self.too_much or self._blind:
            summary.notes.append(self.text(cost))
