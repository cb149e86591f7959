# SPDX-License-Identifier: MIT
"""Numbers with what they are of."""

from __future__ import annotations

import pytest

from kwalk.support.text import counted, form, one_of, plural


@pytest.mark.parametrize(
    ("number", "stacks", "calls", "are"),
    [
        (0, "0 stacks", "0 calls", "are"),
        (1, "1 stack", "1 call", "is"),
        (1234, "1,234 stacks", "1,234 calls", "are"),
    ],
)
def test_number_one_has_no_plural(number: int, stacks: str, calls: str, are: str) -> None:
    assert plural(number, "stack") == stacks
    assert counted(number, "calls") == calls
    assert form(number, "is", "are") == are


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1 call"),
        (2.5, "2.5 calls"),
        (1e6, "1,000,000 calls"),
        ("1", "1 call"),
        ("9k", "9k calls"),
    ],
)
def test_numbers_of_calls_are_told_as_they_are(number: float | str, text: str) -> None:
    assert counted(number, "calls") == text


@pytest.mark.parametrize(
    ("units", "one"),
    [
        ("samples", "sample"),
        ("calls + events", "call + event"),
        ("calls/s", "call/s"),
        ("% of all calls", "% of all calls"),
    ],
)
def test_one_of_is_the_singular_of_units(units: str, one: str) -> None:
    assert one_of(units) == one
