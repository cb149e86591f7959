# SPDX-License-Identifier: MIT
"""Rounding of scaled hits to whole numbers such that their sum is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kwalk.model.stack import Count

if TYPE_CHECKING:
    from fractions import Fraction


def whole(values: Iterable[float]) -> Iterator[int]:
    """Yield a whole number for each value, at most 1 away from it.

    The remainder of a value is carried to the next ones: each running sum is the running sum of the
    values, rounded.
    """
    total: Fraction | int = 0
    given = 0
    for value in values:
        # Fractions are exact, where floats would drift; most values are whole.
        total += int(value) if value == int(value) else _fraction(value)
        upto = total if isinstance(total, int) else math.floor(total + _fraction(0.5))
        yield upto - given
        given = upto


def _fraction(value: float) -> Fraction:
    from fractions import Fraction

    return Fraction(value)


def calls(counts: Iterable[Count]) -> Iterator[int]:
    """Yield the scaled hits of each count as a whole number."""
    return whole(count.calls for count in counts)
