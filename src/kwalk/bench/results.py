# SPDX-License-Identifier: MIT
"""What an experiment found: plain data that reports read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from kwalk.bench.statistics import interval, verdict


@dataclass
class WorkloadRun:
    """One run of the workload.

    :ivar rate: In the metric's unit; more is better.
    :ivar seconds: How long it ran.
    :ivar latency: Milliseconds within which so many percent were done, where it is reported.
    """

    rate: float
    seconds: float
    latency: dict[float, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a tool says it saw in one run; None where it does not say.

    :ivar events: Calls that it knows of, those that it lost included.
    :ivar shown: Events that were printed two seconds after the load.
    """

    events: int
    lost: int | None
    fallback: int = 0
    shown: int | None = None


@dataclass
class Run:
    """One run of the workload under a method.

    :ivar change: Of the rate, in percent of the run without tracing in the same round.
    :ivar attach_seconds: From the tool's start until it was attached.
    :ivar reader_seconds: CPU time of the tool's process while the load ran.
    """

    sample: WorkloadRun
    change: float
    attach_seconds: float
    reader_seconds: float
    outcome: Outcome


@dataclass
class MethodResult:
    """A method, and all that was measured of it.

    :ivar cost_ns: Of its BPF programs for one event; None where there are none.
    :ivar not_run: Why it was not measured, or "".
    """

    name: str
    version: str = ""
    runs: list[Run] = field(default_factory=list)
    cost_ns: int | None = None
    not_run: str = ""


@dataclass
class Figures:
    """A row in numbers: medians over its runs.

    :ivar interval: Of the change, 95 % sure (bootstrap).
    :ivar verdict: How far the change can be trusted, or "".
    :ivar reader_share: Of one CPU, what the tool's process took while the load ran.
    :ivar latency: As in ``WorkloadRun``.
    """

    rate: float
    change: float
    interval: tuple[float, float]
    verdict: str
    attach_seconds: float
    reader_share: float
    latency: dict[float, float]


def rate_text(rate: float) -> str:
    """Return a rate, small ones with more digits."""
    return f"{rate:,.4g}" if rate < 1000 else f"{rate:,.0f}"


def middle(latencies: Sequence[dict[float, float]]) -> dict[float, float]:
    """Return the median of the latencies of several runs, for the shares that all report."""
    shares = set.intersection(*map(set, latencies)) if latencies else set()
    return {share: statistics.median(each[share] for each in latencies) for share in sorted(shares)}


def within(latency: dict[float, float], share: float) -> float | None:
    """Return the milliseconds within which at least ``share`` percent were answered."""
    return next((ms for known, ms in latency.items() if known >= share), None)


def figures(row: MethodResult) -> Figures | None:
    """Return a row's medians; None if it has not run."""
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
    """An experiment: the same workload, without tracing and by each method in turn.

    :ivar metric: What the rate is, such as ``requests/s``.
    :ivar clock: ``time``; ``instructions`` where one nanosecond is one instruction (the lab's
        ``--icount``).
    :ivar base: The runs without tracing.
    :ivar stopped: Why it ended early, or "".
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
