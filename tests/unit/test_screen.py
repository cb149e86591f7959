# SPDX-License-Identifier: MIT
"""Whether colours are wanted, and how wide what is written may be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from kwalk.cli import screen
from kwalk.cli.main import main

Run = Callable[..., tuple[int, str, str]]


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
    monkeypatch.setenv("TERM", "xterm")
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    assert screen.colors() == wanted
    monkeypatch.setenv("TERM", "dumb")
    assert not screen.colors()


def test_width_is_at_least_what_the_drawing_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    assert (screen.width(40), screen.width(80)) == (64, 80)
    assert screen.whole(40) == 64


@pytest.mark.parametrize("command", ["doctor", "lab kernels"])
def test_lines_are_whole_and_end_with_words_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, run: Run, command: str
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = run(main, *command.split())[1].splitlines()
    assert lines
    assert all(line == line.rstrip() for line in lines)
    # A line that was broken begins below the one that it belongs to.
    assert not any(line.startswith(" " * 18) for line in lines)
