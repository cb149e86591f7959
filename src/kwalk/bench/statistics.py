# SPDX-License-Identifier: MIT
"""Confidence intervals of medians: the percentile bootstrap (Efron, 1979)."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

RESAMPLES = 2000


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap interval of the median; equal values give equal intervals.

    :param level: Confidence level, 0.95 for 95 %.
    """
    if len(values) == 1:
        return values[0], values[0]
    choose = random.Random(len(values))  # seeded, to be repeatable
    medians = sorted(
        statistics.median(choose.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    out = round((1 - level) / 2 * RESAMPLES)
    return medians[out], medians[-1 - out]


def verdict(values: Sequence[float]) -> str:
    """Return a short remark on how reliable a median change is, or ""."""
    if len(values) == 1:
        return "one run: no interval"
    if len(set(values)) == 1:
        return "identical runs"
    low, high = interval(values)
    if low <= 0 <= high:
        return "within the noise"
    return ""
