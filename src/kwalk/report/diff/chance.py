# SPDX-License-Identifier: MIT
"""Whether two numbers of calls differ by more than chance explains.

Calls that have nothing to do with each other arrive as a Poisson process. Real ones come in bursts,
so what this calls more than chance may still be no more than another run of the same load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from kwalk.model.profile import Timeline

RISK = 0.05
"""How likely it is that of all comparisons of equal loads a single one is called a change."""


LEAST_INTERVALS = 3
"""From how many on their differences say how steady a rate is."""


@dataclass(frozen=True, slots=True)
class PoissonCount:
    """How often something was met.

    :ivar count: Events that were taken.
    :ivar each: Calls that each of these stands for.
    :ivar exposure: What the number of calls is in proportion to: seconds, or all calls.
    """

    count: int
    each: float
    exposure: float


def surprise(before: PoissonCount, after: PoissonCount) -> float:
    """Return how many standard deviations two samples differ by, if their rates are the same.

    It is the root of the deviance of two Poisson counts, each a half nearer to what is expected
    (the continuity correction). For large counts this is ``|a - b| / sqrt(a + b)``; for small ones
    and where the exposures are far apart it is nearer to the exact test.
    """
    exposures = before.exposure / before.each, after.exposure / after.each
    both = before.count + after.count
    expected = [both * exposure / (sum(exposures) or 1.0) for exposure in exposures]
    if not all(expected):
        return 0.0
    # The same for both, with opposite signs; taken from the smaller one, which knows it better.
    off = before.count - expected[0]
    if expected[1] < expected[0]:
        off = expected[1] - after.count
    nearer = math.copysign(max(abs(off) - 0.5, 0.0), off)
    return math.sqrt(_deviance(nearer, expected[0]) + _deviance(-nearer, expected[1]))


def _deviance(off: float, expected: float) -> float:
    """Return that of a count which is off by so much."""
    part = off / expected
    if abs(part) < 1e-4:  # where the exact terms all but cancel
        return off * part * (1 - part / 3)
    logs = (expected + off) * math.log1p(part) if part > -1 else 0.0
    return max(2 * (logs - off), 0.0)


def threshold(comparisons: int) -> float:
    """Return from how many standard deviations on a difference is taken for a change.

    With many comparisons some are large by chance (Bonferroni's correction): see ``RISK``.
    """
    return NormalDist().inv_cdf(1 - RISK / 2 / max(comparisons, 1))


def unsteadiness(timeline: Timeline) -> float:
    """Return the standard error of the rate of all calls, as a share of it.

    It is estimated from how much the intervals of a recording differ, beyond Poisson; 0 where there
    are fewer than ``LEAST_INTERVALS``.
    """
    totals = timeline.totals()
    calls, degrees = sum(totals), len(totals) - 1
    seconds = timeline.ends[-1] if timeline.ends else 0.0
    if len(totals) < LEAST_INTERVALS or not calls or not seconds:
        return 0.0
    starts = [0.0, *timeline.ends]
    # Each interval weighs as much as it is long.
    squares = sum(
        (total - calls * (end - start) / seconds) ** 2 / ((end - start) / seconds)
        for total, start, end in zip(totals, starts, timeline.ends, strict=False)
        if end > start
    )
    variance = squares / degrees / calls**2 - 1 / calls
    return math.sqrt(max(variance, 0.0))
