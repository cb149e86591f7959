# SPDX-License-Identifier: MIT
"""Results of a benchmark, as plain data for reports."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from kwalk.bench.statistics import interval, verdict


@dataclass
class WorkloadRun:
    """One run of the workload.

    :ivar rate: Throughput in the metric's unit; more is better.
    :ivar seconds: Duration.
    :ivar latency: Percent of the requests -> milliseconds within which they were answered; {} if
        the workload does not report it.
    """

    rate: float
    seconds: float
    latency: dict[float, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """Calls of one run in the tool's own output; None where it has nothing on them.

    :ivar delivered: Calls that it shows, printed or counted under a stack.
    :ivar lost: Calls that it admits to have lost.
    :ivar shown: Calls printed within two seconds after the load.
    """

    delivered: int | None
    lost: int | None
    fallback: int = 0
    shown: int | None = None


@dataclass
class Account:
    """Calls of one run, counted by the benchmark itself, beside the tool's outcome.

    :ivar calls: Calls during the load, all of them while the tool was attached.
    :ivar outside: Calls while it started or ended, of which it may have seen some.
    :ivar counter: Attach type of the program that counted.
    """

    calls: int
    outside: int
    counter: str
    outcome: Outcome

    @property
    def silent(self) -> int | None:
        """Calls during the load that are neither delivered nor admitted as lost, at least.

        None if the tool delivers nothing.
        """
        if self.outcome.delivered is None:
            return None
        return max(0, self.calls - self.outcome.delivered - (self.outcome.lost or 0))


@dataclass
class Run:
    """One run of the workload under a method.

    :ivar change: Change of the rate in percent of the untraced run in the same round.
    :ivar attach_seconds: From the tool's start until it was attached.
    :ivar reader_seconds: CPU time of the tool's process during the load.
    :ivar quiet: Its start-up work was over when the load began.
    """

    sample: WorkloadRun
    change: float
    attach_seconds: float
    reader_seconds: float
    outcome: Outcome
    quiet: bool = True


@dataclass
class MethodResult:
    """Measurements of one method.

    :ivar cost_ns: Nanoseconds of its BPF programs per event; None if unknown, or if it has none.
    :ivar account: Its calls in the run that is not timed; None if they were not counted.
    :ivar not_counted: The reason why not, or "".
    :ivar not_run: The reason why it was not measured, or "".
    """

    name: str
    version: str = ""
    runs: list[Run] = field(default_factory=list)
    cost_ns: int | None = None
    account: Account | None = None
    not_counted: str = ""
    not_run: str = ""


@dataclass
class Figures:
    """Medians over a method's runs.

    :ivar interval: 95 % bootstrap confidence interval of the change, in percent.
    :ivar verdict: Remark on how reliable the change is, or "".
    :ivar reader_share: CPU time of the tool's process during the load, as a share of one CPU.
    :ivar latency: See ``WorkloadRun``.
    """

    rate: float
    change: float
    interval: tuple[float, float]
    verdict: str
    attach_seconds: float
    reader_share: float
    latency: dict[float, float]


def rate_text(rate: float) -> str:
    """Format a rate; below 1,000 with four significant digits."""
    return f"{rate:,.4g}" if rate < 1000 else f"{rate:,.0f}"


def middle(latencies: Sequence[dict[float, float]]) -> dict[float, float]:
    """Return the median latencies of several runs, for the percentages that all runs report."""
    shares = set.intersection(*map(set, latencies)) if latencies else set()
    return {share: statistics.median(each[share] for each in latencies) for share in sorted(shares)}


def within(latency: dict[float, float], share: float) -> float | None:
    """Return the milliseconds within which at least ``share`` percent were answered, or None."""
    return next((ms for known, ms in latency.items() if known >= share), None)


def figures(row: MethodResult) -> Figures | None:
    """Return a method's medians; None if it has no run."""
    runs = row.runs
    if not runs:
        return None
    changes = [run.change for run in runs]
    return Figures(
        statistics.median(run.sample.rate for run in runs),
        statistics.median(changes),
        interval(changes),
        verdict(changes),
        statistics.median(run.attach_seconds for run in runs),
        statistics.median(run.reader_seconds / run.sample.seconds for run in runs),
        middle([run.sample.latency for run in runs]),
    )


@dataclass
class Results:
    """Results of one benchmark: the same workload, without tracing and under each method.

    :ivar metric: Unit of the rate, such as ``requests/s``.
    :ivar clock: ``time``, or ``instructions`` if one nanosecond is one instruction (the lab's
        ``--icount``).
    :ivar base: The untraced runs.
    :ivar stopped: The reason for an early end, or "".
    :ivar date: Day of the measurement, ``2026-11-30``.
    """

    function: str
    mode: str
    workload: str
    kernel: str
    clock: str
    mitigations: str
    metric: str = ""
    versions: list[str] = field(default_factory=list)
    base: list[WorkloadRun] = field(default_factory=list)
    rows: list[MethodResult] = field(default_factory=list)
    stopped: str = ""
    date: str = ""
