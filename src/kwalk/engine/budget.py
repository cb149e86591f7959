# SPDX-License-Identifier: MIT
"""Overhead limit: adapt the sampling rate so that tracing stays within a share of CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kwalk.engine.capture import Capture
from kwalk.model.ledger import Sampling, Summary
from kwalk.options.keywords import FIRST_CHANCE
from kwalk.probe.probe import Probe

STEP_SECONDS = 0.5
SAY_SECONDS = 5.0
# Share of the budget to aim for: the load changes between two steps.
AIM = 0.9
FASTEST_RISE = 2.0
LEAST_CHANCE = 1e-5
# Cost of a skipped hit in nanoseconds, by attach type: enter the program and return. fentry and
# kprobe are measured (under the lab's --icount, where an instruction takes about the nanoseconds of
# current hardware); the others are estimated upwards from the kernel's additional work.
CALL_NS = {
    "fentry": 220.0,
    "fexit": 320.0,
    "fentry.multi": 220.0,
    "fexit.multi": 320.0,
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


def call_ns(probe: Probe) -> float:
    """Return the cost of a skipped hit in nanoseconds: of the dearest way that is in use."""
    ways = [probe.attach, *(["kprobe.multi"] if probe.beside else [])]
    return max(CALL_NS[way] for way in ways)


class BudgetReading(NamedTuple):
    """Snapshot of counters that only increase; times are in nanoseconds.

    :ivar hits: Hits so far, the filtered ones included.
    :ivar out: Hits that were filtered or skipped.
    :ivar taken: Time that the program spent on sampled hits.
    :ivar busy: CPU time that the whole machine has used.
    :ivar reader: CPU time that reading has used.
    """

    hits: int
    out: int
    taken: int
    busy: int
    reader: int


class Shares(NamedTuple):
    """Overhead, as shares of the CPU time that the machine used.

    :ivar programs: BPF programs, on all CPUs.
    :ivar reader: This process.
    """

    programs: float
    reader: float


class Step(NamedTuple):
    """Result of one adjustment.

    :ivar cost: Overhead since the last one, as a share of the CPU time that the machine used.
    :ivar chance: Sampling probability of each hit from now on; 0 if skipped hits alone exceed the
        budget.
    """

    cost: float
    chance: float


def shares(before: BudgetReading, now: BudgetReading, call_ns: float) -> Shares:
    """Return the overhead between two readings.

    :param call_ns: Cost of a skipped hit in nanoseconds.
    """
    hits, _, taken_ns, busy, reader = (b - a for a, b in zip(before, now, strict=True))
    if busy <= 0:
        return Shares(0.0, 0.0)
    return Shares((hits * call_ns + taken_ns) / busy, reader / busy)


def step(
    before: BudgetReading, now: BudgetReading, chance: float, budget: float, call_ns: float
) -> Step:
    """Compute the sampling probability for the time after ``now``.

    :param chance: Probability between the two readings.
    :param budget: Share of the CPU time that the machine uses.
    :param call_ns: Cost of a skipped hit in nanoseconds.
    """
    hits, out, taken_ns, busy, reader = (b - a for a, b in zip(before, now, strict=True))
    if not hits or busy <= 0:
        return Step(0.0, min(1.0, chance * FASTEST_RISE))
    floor = hits * call_ns
    taken = max(hits - out, 1)
    more = taken_ns + reader  # cost of the sampled hits alone
    cost = sum(shares(before, now, call_ns))
    allowed = AIM * budget * busy - floor
    if allowed <= 0:
        return Step(cost, 0.0)
    wanted = allowed / (hits * more / taken) if more else 1.0
    return Step(cost, max(LEAST_CHANCE, min(1.0, wanted, chance * FASTEST_RISE)))


def busy_ns(text: str) -> int:
    """Return the CPU time in nanoseconds that all CPUs have used, from the text of /proc/stat."""
    user, nice, system, _, _, irq, softirq = map(int, text.split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK_NS


def read(capture: Capture) -> BudgetReading:
    """Read the counters of a capture and of the machine."""
    return BudgetReading(*capture.seen(), busy_ns(_STAT.read_text()), time.process_time_ns())


class Budget:
    """Adapts the sampling probability of a capture; gives up if the budget cannot be kept.

    :param share: Budget as a share of used CPU time, such as 0.02.
    :param spent: Returns the CPU time of reading in nanoseconds; None for this process's.
    :ivar say: Called with a notice every ``SAY_SECONDS``, and when giving up.
    :ivar too_much: The smallest probability still exceeds the budget.
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
        self._call_ns = call_ns(capture.probe)
        self.say = say
        self.too_much = False
        self._blind = ""  # error of reading its counters
        self._first = self._before = self._read()
        self._due = time.monotonic() + STEP_SECONDS
        self._say_at = 0.0

    def _read(self) -> BudgetReading:
        now = read(self._capture)
        return now._replace(reader=self._spent()) if self._spent else now

    def _step(self, before: BudgetReading, now: BudgetReading) -> Step:
        return step(before, now, self._chance, self._share, self._call_ns)

    def tend(self) -> bool:
        """Adjust the sampling probability every ``STEP_SECONDS``; return False to give up."""
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
        # Twice in a row: the smallest probability is not cheap enough.
        self.too_much = not found.chance and self._chance <= LEAST_CHANCE
        self._chance = found.chance or LEAST_CHANCE
        self._capture.sample(self._chance)
        if self.too_much or at >= self._say_at:
            self._say_at = at + SAY_SECONDS
            self.say(self.text(found.cost))
        return not self.too_much

    def text(self, cost: float) -> str:
        """Return a notice: budget, overhead, sampling rate.

        :param cost: Overhead, as a share of used CPU time.
        """
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
        """Add budget, overhead and scale to a summary."""
        try:
            last = self._read()
        except OSError:
            last = self._before
        cost = self._step(self._first, last).cost
        summary.sampling = Sampling(self._share, cost, self._capture.scale)
        if self.too_much or self._blind:
            summary.notes.append(self.text(cost))
