# SPDX-License-Identifier: MIT
"""The load waits until a tool that has attached has nothing left to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kwalk.bench import quiet
from kwalk.bench.results import Outcome

WINDOW = quiet.WINDOW_SECONDS


class Running:
    """A tool that uses these shares of a CPU, window by window, then the last one for ever."""

    attach_seconds = 0.0

    def __init__(self, clock: Clock, shares: list[float]) -> None:
        self._clock = clock
        self._shares = shares

    def cpu_seconds(self) -> float:
        windows = round(self._clock.now / WINDOW)
        more = max(0, windows - len(self._shares))
        return WINDOW * (sum(self._shares[:windows]) + more * self._shares[-1])

    def finish(self) -> Outcome:
        raise AssertionError

    def kill(self) -> None:
        raise AssertionError


class Clock:
    """A clock that only sleeping moves."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    fake = SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)
    monkeypatch.setattr(quiet, "time", fake)
    return made


@pytest.mark.parametrize(
    ("shares", "windows"),
    [
        ([0.0], 4),  # a tool without a process
        ([0.004, 0.0, 0.009, 0.002], 4),
        ([0.9, 0.3, 0.0], 2 + 4),
        ([1.0] * 9 + [0.0], 9 + 4),  # busy, but always the same
        ([0.5, 0.06, 0.05, 0.055, 0.06], 1 + 4),  # polls
        ([0.04, 0.08, 0.04, 0.08, 0.05, 0.05, 0.05, 0.05], 4 + 4),
    ],
)
def test_load_waits_for_the_end_of_the_start_up_work(
    clock: Clock, shares: list[float], windows: int
) -> None:
    assert quiet.wait(Running(clock, shares))
    assert clock.now == pytest.approx(windows * WINDOW)


def test_tool_that_never_rests_is_measured_all_the_same_and_told(clock: Clock) -> None:
    assert not quiet.wait(Running(clock, [1.0]))
    assert clock.now == pytest.approx(quiet.LONGEST_SECONDS, abs=1.5 * WINDOW)
