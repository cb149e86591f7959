# SPDX-License-Identifier: MIT
"""Whether colours are wanted, and how wide what is written may be."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from kwalk.commands import screen


@pytest.mark.parametrize(
    ("terminal", "value", "wanted"),
    [
        (True, None, True),
        (True, "", True),
        (True, "1", False),
        (True, "0", False),
        (False, None, False),
    ],
)
def test_colours_are_for_terminals_unless_nobody_wants_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, value: str | None, wanted: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    assert screen.colors() == wanted


def test_what_is_drawn_gets_the_columns_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    assert (screen.width(40), screen.width(80)) == (64, 80)
