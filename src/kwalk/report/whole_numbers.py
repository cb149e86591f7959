# SPDX-License-Identifier: MIT
"""Calls as whole numbers, for formats that have no others, without changing their sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kwalk.model.stack import Count

if TYPE_CHECKING:
    from fractions import Fraction


def whole(values: Iterable[float]) -> Iterator[int]:
    """Yield a whole number for each value, at most 1 away from it.

    What one is rounded down, the next ones get: all sums from the first one on are those of the
    values, rounded.
    """
    total: Fraction | int = 0
    given = 0
    for value in values:
        # Most are whole; the others are added up exactly, where floats would drift.
        total += int(value) if value == int(value) else _fraction(value)
        upto = total if isinstance(total, int) else math.floor(total + _fraction(0.5))
        yield upto - given
        given = upto


def _fraction(value: float) -> Fraction:
    from fractions import Fraction

    return Fraction(value)


def calls(counts: Iterable[Count]) -> Iterator[int]:
    """Yield the calls of each count as a whole number."""
    return whole(count.calls for count in counts)
