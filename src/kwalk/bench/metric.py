# SPDX-License-Identifier: MIT
"""Parser of the throughput and latencies in a workload's output."""

from __future__ import annotations

import math
import re
import statistics
from contextlib import suppress
from dataclasses import dataclass

from kwalk.bench.results import WorkloadRun
from kwalk.errors import KwalkError

_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}


def number(text: str) -> float:
    """Parse a finite number >= 0, with or without commas.

    :raises ValueError: for ``1.2.3``, ``nan``, ``-5``.
    """
    value = float(text.replace(",", ""))
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


@dataclass(frozen=True)
class Metric:
    """Throughput as a program prints it; several values in one run are averaged.

    :ivar program: The program; "" for a pattern from the user.
    :ivar pattern: Regular expression. Group 1 is the number, an optional group 2 its suffix, such
        as k or M.
    """

    program: str
    unit: str
    pattern: str

    def find(self, text: str) -> float | None:
        """Return the throughput in a text, or None."""
        values = []
        for match in re.finditer(self.pattern, text, re.MULTILINE):
            groups = match.groups()
            found = (groups[0] if groups else match.group()) or ""
            scale = groups[1] if len(groups) > 1 and groups[1] in _SCALE else ""
            try:
                value = number(found) * _SCALE[scale]
                if value == math.inf:
                    raise ValueError(found)
                values.append(value)
            except ValueError:
                if self.program:
                    continue  # another line that happens to match
                raise KwalkError(
                    f"the metric's regular expression found {match.group()!r:.200}, "
                    "which is not a number",
                    "Make its first group match the number alone; it must not be negative.",
                ) from None
        return statistics.mean(values) if values else None


KNOWN = [
    Metric("redis-benchmark", "requests/s", r"([\d.]+) requests per second"),
    Metric("redis-benchmark --csv", "requests/s", r'^"[A-Z][^"]*","([\d.]+)"'),
    Metric("wrk", "requests/s", r"^Requests/sec:\s+([\d.]+)"),
    Metric("fio", "I/Os per second", r"IOPS=([\d.]+)([kM]?)"),
    Metric("pgbench", "transactions/s", r"^tps = ([\d.]+)"),
    Metric("sysbench", "events/s", r"events per second:\s+([\d.]+)"),
    Metric("sysbench", "events/s", r"(?:transactions|events):\s+\d+\s+\(([\d.]+) per sec\.\)"),
]
WALL = Metric("", "runs/s", "")

# redis-benchmark's "99.900% <= 5.511 milliseconds (cumulative count 19990)", before version 6 with
# a space ahead of the percent sign; wrk --latency's "99%   1.20ms".
_LATENCY = re.compile(r"^\s*([\d.]+)\s?% <= ([\d.]+) milliseconds", re.MULTILINE)
_WRK_LATENCY = re.compile(r"^\s+(\d+(?:\.\d+)?)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def latencies(text: str) -> dict[float, float]:
    """Return latencies: percent of the requests -> milliseconds within which they were answered."""
    # From version 6 on, redis-benchmark repeats them under this heading, inverted.
    text = text.partition("Cumulative distribution of latencies")[0]
    rows = [(share, time, "ms") for share, time in _LATENCY.findall(text)]
    if not rows and "Latency Distribution" in text:
        rows = _WRK_LATENCY.findall(text)
    found = {}
    for share, time, unit in rows:
        with suppress(ValueError):  # another line that happens to match
            found[number(share)] = number(time) * _MILLISECONDS[unit]
    known = (item for item in found.items() if item[0] <= 100 and item[1] < math.inf)
    return dict(sorted(known))


def recognize(text: str) -> Metric:
    """Return the known metric that a program's output contains; ``WALL`` if there is none."""
    return next((metric for metric in KNOWN if metric.find(text) is not None), WALL)


def read(text: str, seconds: float, metric: Metric) -> WorkloadRun:
    """Return the result of one run of the workload.

    :param text: The workload's output.
    :param seconds: Duration of the run.
    :raises KwalkError: if the output lacks the metric.
    """
    if metric is WALL:
        return WorkloadRun(1 / seconds, seconds)
    rate = metric.find(text)
    if not rate:
        what = f"does not match {metric.pattern!r}" if not metric.program else "has none this time"
        what = what if rate is None else "reports 0"
        last = (text.strip().splitlines() or ["it printed nothing"])[-1]
        raise KwalkError(
            f"no throughput can be found in the workload's output: it {what}",
            f"Its last line was: {last}",
        )
    return WorkloadRun(rate, seconds, latencies(text))
