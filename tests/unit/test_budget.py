# SPDX-License-Identifier: MIT
"""The budget: how many calls are taken, so that tracing costs what it may."""

from __future__ import annotations

import random
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.engine import budget as budgets
from kwalk.engine.budget import (
    AIM,
    CALL_NS,
    FASTEST_RISE,
    LEAST_CHANCE,
    Budget,
    BudgetReading,
    busy_ns,
    step,
)
from kwalk.model.ledger import Ledger, Summary
from kwalk.options.keywords import FIRST_CHANCE
from kwalk.probe.attach import PROGRAMS

SECOND = 10**9
START = BudgetReading(0, 0, 0, 0, 0)
CALL = CALL_NS["fentry"]


class Machine:
    """One busy CPU, a function that is called, and what taking a call costs.

    :ivar taken_ns: For the program.
    :ivar reader_ns: For kwalk's own process.
    """

    def __init__(self, hits_per_second: float, taken_ns: float, reader_ns: float = 0.0) -> None:
        self.rate, self.taken_ns, self.reader_ns = hits_per_second, taken_ns, reader_ns
        self.at = START
        self.random = random.Random(7)

    def run(self, seconds: float, chance: float) -> float:
        """Go on for a while; return the share of the time that tracing really cost."""
        hits = round(self.rate * seconds)
        taken = sum(self.random.random() < chance for _ in range(hits))
        program = taken * self.taken_ns
        reader = taken * self.reader_ns
        busy = seconds * SECOND
        now = (hits, hits - taken, program, busy, reader)
        self.at = BudgetReading(*(round(a + b) for a, b in zip(self.at, now, strict=True)))
        return (program + reader + hits * CALL) / busy


@pytest.mark.parametrize(
    ("taken_ns", "reader_ns"), [(10_000, 0), (1_000, 4_000), (300, 0), (0, 50_000)]
)
def test_cost_settles_just_under_the_budget(taken_ns: float, reader_ns: float) -> None:
    machine = Machine(20_000, taken_ns, reader_ns)
    chance, costs = FIRST_CHANCE, []
    for _ in range(30):
        before = machine.at
        costs.append(machine.run(0.5, chance))
        chance = step(before, machine.at, chance, 0.02, CALL).chance
    assert max(costs) < 0.023
    whole = machine.rate * (CALL + taken_ns + reader_ns) / SECOND
    assert min(costs[-10:]) > min(0.013, 0.99 * whole)


def test_chance_aims_below_the_budget() -> None:
    hits, taken, each, busy = 10_000, 1_000, 5_000, SECOND
    now = BudgetReading(hits, hits - taken, 4_000 * taken, busy, 1_000 * taken)
    chance = step(START, now, 1.0, 0.02, 0.0).chance
    assert chance * hits * each == pytest.approx(AIM * 0.02 * busy)


def test_chance_becomes_one_where_all_calls_fit() -> None:
    machine, chance = Machine(100, 10_000), FIRST_CHANCE
    for _ in range(10):
        before = machine.at
        machine.run(0.5, chance)
        chance = step(before, machine.at, chance, 0.02, CALL).chance
    assert chance == 1


def test_chance_becomes_zero_where_skipping_alone_is_too_much() -> None:
    machine = Machine(200_000, 1000)
    machine.run(0.5, 0.01)
    found = step(START, machine.at, 0.01, 0.02, CALL)
    assert found.chance == 0
    assert found.cost > 200_000 * CALL / SECOND


COUNTS = st.integers(0, 10**9)


@given(
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    st.floats(LEAST_CHANCE, 1),
    st.floats(0.001, 0.5),
)
def test_chance_stays_in_bounds_and_rises_slowly(
    numbers: tuple[int, int, int, int, int], chance: float, budget: float
) -> None:
    hits, out, *rest = numbers
    found = step(START, BudgetReading(hits, min(hits, out), *rest), chance, budget, CALL)
    assert found.cost >= 0
    assert found.chance == 0 or LEAST_CHANCE <= found.chance <= min(1, chance * FASTEST_RISE)


def test_step_without_calls_costs_nothing_and_raises_the_chance() -> None:
    assert step(START, START, 0.01, 0.02, CALL).cost == 0
    assert (
        step(START, BudgetReading(0, 0, 0, SECOND, 5), 0.01, 0.02, CALL).chance
        == 0.01 * FASTEST_RISE
    )
    assert AIM < 1


def test_busy_time_leaves_out_idling_and_what_is_elsewhere() -> None:
    text = "cpu  100 20 30 4000 500 6 7 80 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert busy_ns(text) == (100 + 20 + 30 + 6 + 7) * 10_000_000


class FakeCapture:
    """Counts what is sampled by the chance that it is told."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.chances = [FIRST_CHANCE]  # from the options of the command
        self.probe = SimpleNamespace(attach="fentry", beside=None)
        self.scale = 42.0

    def sample(self, chance: float) -> None:
        self.chances.append(chance)

    def seen(self) -> tuple[int, int, int]:
        return self.machine.at[:3]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def watched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> tuple[Budget, FakeCapture]:
    capture: Any = FakeCapture(machine)
    monkeypatch.setattr(budgets, "read", lambda _: machine.at)
    return Budget(capture, 0.02, lambda text: print(text, file=sys.stderr)), capture


def test_budget_reports_its_cost_and_the_scale(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(20_000, 10_000)
    budget, capture = watched(machine, monkeypatch)
    for _ in range(20):
        assert budget.tend()
        machine.run(0.5, capture.chances[-1])
        clock[0] += 0.5
    assert budget.tend()
    summary = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger())
    budget.report(summary)
    said = capsys.readouterr().err
    assert "budget 2 %: overhead about" in said
    assert "is recorded" in said
    assert 2 <= said.count("\n") <= 4  # every five seconds
    assert summary.sampling
    assert summary.sampling.scale == capture.scale
    assert 0.01 < summary.sampling.cost < 0.022
    assert not summary.notes


def test_budget_messages_can_be_redirected(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(20_000, 10_000)
    said: list[str] = []
    budget, capture = watched(machine, monkeypatch)
    budget.say = said.append
    machine.run(0.5, capture.chances[-1])
    clock[0] += 0.5
    assert budget.tend()
    assert len(said) == 1
    assert said[0].startswith("budget 2 %: overhead about ")
    assert capsys.readouterr().err == ""


def test_shares_are_those_of_the_programs_and_of_the_reader() -> None:
    before = BudgetReading(100, 40, 7, 1000, 5)
    now = BudgetReading(1100, 40, 10_007, 1_001_000, 20_005)
    programs, reader = budgets.shares(before, now, 220.0)
    assert programs == pytest.approx((1000 * 220 + 10_000) / 1_000_000)
    assert reader == pytest.approx(0.02)
    assert budgets.shares(now, now, 220.0) == (0, 0)
    assert budgets.shares(before, now._replace(hits=100), 220.0).reader == pytest.approx(0.02)


def test_budget_that_cannot_be_kept_gives_up_and_says_so(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(200_000, 1000)
    budget, capture = watched(machine, monkeypatch)
    tended = []
    for _ in range(3):
        machine.run(0.5, capture.chances[-1])
        clock[0] += 0.5
        tended.append(budget.tend())
    summary = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger())
    budget.report(summary)
    assert tended == [True, False, False]
    assert "detached" in capsys.readouterr().err
    assert "detached" in summary.notes[0]


def test_budget_gives_up_where_counters_cannot_be_read(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(20_000, 10_000)
    budget, capture = watched(machine, monkeypatch)
    for _ in range(3):
        machine.run(0.5, capture.chances[-1])
        clock[0] += 0.5
        assert budget.tend()

    def fail(_: object) -> BudgetReading:
        raise OSError(24, "Too many open files", "/proc/stat")

    monkeypatch.setattr(budgets, "read", fail)
    clock[0] += 0.5
    assert not budget.tend()
    summary = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger())
    budget.report(summary)
    assert summary.sampling
    assert summary.sampling.cost > 0  # as it was when it was last known
    assert "Too many open files" in capsys.readouterr().err
    assert [note for note in summary.notes if "Too many open files" in note and "detached" in note]


def test_call_cost_is_known_for_every_way_to_attach() -> None:
    assert CALL_NS.keys() == PROGRAMS.keys()
