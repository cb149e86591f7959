# SPDX-License-Identifier: MIT
"""Compact formats of numbers."""

from __future__ import annotations

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float, exact_below: float = 1e5) -> str:
    """Format a number in six columns or fewer: ``0``, ``7.5``, ``15,901``, ``195k``, ``1.23M``.

    :param exact_below: Whole numbers below this keep all digits.
    """
    if value < 99.95 and value != int(value):
        return f"{value:.1f}"
    if round(value) < exact_below:
        return f"{value:,.0f}"
    # 999.5 and more would be rounded to 1000: use the next unit.
    unit, letter = next(pair for pair in _UNITS if value >= 0.9995 * pair[0])
    shown = value / unit
    digits = 2 if shown < 9.995 else 1 if shown < 99.95 else 0
    return f"{shown:.{digits}f}{letter}"


def whole(value: float) -> str:
    """Format a number of calls in nine columns or fewer, with all digits below ten million."""
    return short(round(value), 1e7)


def length(seconds: float) -> str:
    """Format a duration: ``12 s``, ``3:05``, ``1:02:03``."""
    minutes, left = divmod(int(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
