# SPDX-License-Identifier: MIT
"""Statistics of counts: against exact values, and against simulated recordings."""

from __future__ import annotations

import math
import random
from array import array
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.model.profile import Timeline
from kwalk.report.diff.chance import PoissonCount, surprise, threshold, unsteadiness

COUNTS = st.integers(0, 1 << 40)
EXPOSURES = st.floats(1e-3, 1e9)
EACH = st.floats(1.0, 1e6)


def between(one: int, other: int, exposures: tuple[float, float] = (1.0, 1.0)) -> float:
    return surprise(PoissonCount(one, 1.0, exposures[0]), PoissonCount(other, 1.0, exposures[1]))


def exact(one: int, other: int, exposures: tuple[float, float]) -> float:
    """Standard deviations of the exact test: given the sum, a count is binomial.

    For the smaller of the two tails, as often as it would be on both sides.
    """
    both, p = one + other, exposures[1] / sum(exposures)
    chances = [math.comb(both, k) * p**k * (1 - p) ** (both - k) for k in range(both + 1)]
    tail = min(sum(chances[other:]), sum(chances[: other + 1]), 0.5)
    return -NormalDist().inv_cdf(tail)


@pytest.mark.parametrize("exposures", [(1.0, 1.0), (10.0, 1.0), (1.0, 100.0)])
@pytest.mark.parametrize("counts", [(0, 5), (0, 22), (7, 3), (40, 90), (50, 4), (12, 0), (1, 60)])
def test_surprise_is_near_the_exact_test(
    counts: tuple[int, int], exposures: tuple[float, float]
) -> None:
    assert between(*counts, exposures) == pytest.approx(exact(*counts, exposures), abs=0.25)


def test_large_counts_are_compared_by_the_root_of_their_sum() -> None:
    a, b = 1_000_000, 1_003_000
    assert between(a, b) == pytest.approx((b - a) / math.sqrt(a + b), rel=0.01)
    # Twice the time and twice the calls are no change.
    assert between(1000, 2000, (1.0, 2.0)) == 0


def test_small_changes_of_huge_counts_are_no_less_surprising() -> None:
    a, b = 10**12, 10**12 + 2 * 10**7
    assert between(a, b) == pytest.approx((b - a) / math.sqrt(a + b), rel=1e-3)


def test_surprise_of_one_event_is_zero() -> None:
    assert between(0, 1) == between(1, 0) == 0
    assert between(0, 0) == 0
    assert between(0, 10, (0.0, 1.0)) == 0


def test_calls_that_stand_for_many_are_less_certain() -> None:
    plain = between(100, 200)
    scaled = surprise(PoissonCount(100, 50.0, 1.0), PoissonCount(200, 50.0, 1.0))
    assert scaled == pytest.approx(plain)  # 5,000 and 10,000 calls, but only so many were taken
    assert surprise(PoissonCount(100, 2.0, 1.0), PoissonCount(200, 1.0, 1.0)) < 0.1


@given(COUNTS, COUNTS, EXPOSURES, EXPOSURES, EACH, EACH)
def test_surprise_is_symmetric(
    a: int, b: int, exposure: float, other: float, each: float, each_other: float
) -> None:
    pair = PoissonCount(a, each, exposure), PoissonCount(b, each_other, other)
    found = surprise(*pair)
    assert found == pytest.approx(surprise(*reversed(pair)), rel=1e-3, abs=1e-3)
    assert math.isfinite(found)
    assert found >= 0


def test_equal_loads_seldom_show_any_change() -> None:
    """Of 200 pairs of recordings with 50 stacks each, about one in 20 shows a change."""
    chosen = random.Random(1)
    rates = [0.5, 3.0, 20.0, 150.0, 1000.0] * 10
    least = threshold(len(rates))

    def poisson(mean: float) -> int:
        if mean > 100:
            return max(round(chosen.gauss(mean, math.sqrt(mean))), 0)
        limit, number, product = math.exp(-mean), 0, chosen.random()
        while product > limit:
            number, product = number + 1, product * chosen.random()
        return number

    wrong = sum(
        any(between(poisson(rate), poisson(2 * rate), (1.0, 2.0)) > least for rate in rates)
        for _ in range(200)
    )
    assert 1 <= wrong <= 20


def test_threshold_grows_with_the_number_of_comparisons() -> None:
    assert threshold(1) == pytest.approx(1.96, abs=0.01)
    assert threshold(0) == threshold(1)
    assert 4 < threshold(1000) < threshold(20_000) < 5


def timeline(ends: list[float], totals: list[int]) -> Timeline:
    rows = len(totals)
    zeros = array("I", [0]) * rows
    return Timeline(ends, array("I", range(rows)), zeros, array("q", totals))


def test_steady_seconds_make_a_rate_certain_and_unsteady_ones_do_not() -> None:
    ends = [float(second) for second in range(1, 11)]
    assert unsteadiness(timeline(ends, [10_000] * 10)) == 0
    rough = unsteadiness(timeline(ends, [8_000, 12_000] * 5))
    # 2,000 of 10,000 up and down; of ten seconds the mean is off by a third of that.
    assert rough == pytest.approx(0.2 / math.sqrt(9), rel=0.02)
    assert unsteadiness(timeline(ends[:2], [1, 100])) == 0
    assert unsteadiness(Timeline()) == 0
    assert unsteadiness(timeline(ends, [0] * 10)) == 0


def test_intervals_count_by_their_length() -> None:
    """A short one with few calls is as steady as the others."""
    assert unsteadiness(timeline([1.0, 2.0, 2.1, 4.1], [1000, 1000, 100, 2000])) == 0
    assert unsteadiness(timeline([1.0, 2.0, 2.1, 4.1], [1000, 1000, 1000, 2000])) > 0.1
