# SPDX-License-Identifier: MIT
"""Significance test for the difference of two numbers of hits.

It assumes independent hits, a Poisson process. Real ones come in bursts, so a significant
difference may still be no more than another run of the same load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from kwalk.model.profile import Timeline

RISK = 0.05
"""Probability that, with equal loads, any comparison at all is called a change."""


LEAST_INTERVALS = 3
"""Fewest intervals from which the variation of a rate is estimated."""


@dataclass(frozen=True, slots=True)
class PoissonCount:
    """A Poisson count with its exposure.

    :ivar count: Recorded hits.
    :ivar each: Hits that each recorded one stands for; 1 unless sampled.
    :ivar exposure: Seconds, all hits, or 1: the expected number is in proportion to it.
    """

    count: int
    each: float
    exposure: float


def surprise(before: PoissonCount, after: PoissonCount) -> float:
    """Return the difference of two counts in standard deviations, under the same rate.

    It is the root of the deviance of two Poisson counts, each moved by a half towards its expected
    value (continuity correction). For large counts this is ``|a - b| / sqrt(a + b)``; for small
    ones, or exposures far apart, it is nearer to the exact test.
    """
    exposures = before.exposure / before.each, after.exposure / after.each
    both = before.count + after.count
    expected = [both * exposure / (sum(exposures) or 1.0) for exposure in exposures]
    if not all(expected):
        return 0.0
    # Both are off by the same, with opposite signs; the smaller one has less rounding error.
    off = before.count - expected[0]
    if expected[1] < expected[0]:
        off = expected[1] - after.count
    nearer = math.copysign(max(abs(off) - 0.5, 0.0), off)
    return math.sqrt(_deviance(nearer, expected[0]) + _deviance(-nearer, expected[1]))


def _deviance(off: float, expected: float) -> float:
    """Return the Poisson deviance of the count ``expected + off``."""
    part = off / expected
    if abs(part) < 1e-4:  # the exact terms would all but cancel
        return off * part * (1 - part / 3)
    logs = (expected + off) * math.log1p(part) if part > -1 else 0.0
    return max(2 * (logs - off), 0.0)


def threshold(comparisons: int) -> float:
    """Return the standard deviations beyond which a difference is significant.

    ``RISK`` is shared out over all comparisons (Bonferroni's correction).
    """
    return NormalDist().inv_cdf(1 - RISK / 2 / max(comparisons, 1))


def unsteadiness(timeline: Timeline) -> float:
    """Return the relative standard error of the rate of all hits, beyond Poisson.

    It is estimated from the variation between intervals; 0 with fewer than ``LEAST_INTERVALS``.
    """
    totals = timeline.totals()
    calls, degrees = sum(totals), len(totals) - 1
    seconds = timeline.ends[-1] if timeline.ends else 0.0
    if len(totals) < LEAST_INTERVALS or not calls or not seconds:
        return 0.0
    starts = [0.0, *timeline.ends]
    # Weight intervals by their length.
    squares = sum(
        (total - calls * (end - start) / seconds) ** 2 / ((end - start) / seconds)
        for total, start, end in zip(totals, starts, timeline.ends, strict=False)
        if end > start
    )
    variance = squares / degrees / calls**2 - 1 / calls
    return math.sqrt(max(variance, 0.0))
