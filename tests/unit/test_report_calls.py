# SPDX-License-Identifier: MIT
"""Fractions as whole numbers whose running sums are those of the fractions, rounded."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.report.calls import whole


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([], []),
        ([2.0, 3.0], [2, 3]),
        ([0.4, 0.4, 0.4], [0, 1, 0]),
        ([0.5, 0.5], [1, 0]),
        ([1.25, 1.25, 1.5], [1, 2, 1]),
        ([0.1] * 10, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
    ],
)
def test_whole_rounds_the_running_sum(values: list[float], numbers: list[int]) -> None:
    assert list(whole(values)) == numbers


@given(st.lists(st.floats(0, 1 << 62)))
def test_whole_sums_stay_within_a_half_of_the_exact_ones(values: list[float]) -> None:
    numbers = list(whole(values))
    for found, exact in zip(accumulate(numbers), accumulate(map(Fraction, values)), strict=True):
        assert abs(found - exact) <= Fraction(1, 2)
    assert all(abs(n - Fraction(v)) <= 1 for n, v in zip(numbers, values, strict=True))
