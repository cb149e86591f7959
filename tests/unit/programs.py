# SPDX-License-Identifier: MIT
"""Programs that stand in for tools which are attached."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Runs until Ctrl-C, whatever this process does with it, and says what it was told to.
PROGRAM = """
import os, signal, sys, time
going = [True]
signal.signal(signal.SIGINT, lambda *_: going.clear())
def say(text, to=sys.stdout):
    print(text, end="", file=to, flush=True)
def wait():
    while going:
        time.sleep(0.005)
"""


def python(body: str) -> list[str]:
    return [sys.executable, "-SE", "-c", PROGRAM + body]


def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where temporary folders are made; none is left behind by any test."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    yield made
    assert list(made.iterdir()) == []
