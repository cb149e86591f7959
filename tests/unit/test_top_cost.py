# SPDX-License-Identifier: MIT
"""What tracing costs while it goes on, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.cli import cost as costs
from kwalk.cli.cost import MEASURE_EVERY, Meter
from kwalk.engine.budget import CALL_NS, BudgetReading
from kwalk.errors import KwalkError
from kwalk.libbpf import stats
from kwalk.tui.model import TracingCost

SECOND = 10**9
CALL = CALL_NS["fentry"]


class World:
    """A function that is called 1000 times a second, by one of two busy CPUs.

    :ivar run_ns: What a run of the program takes.
    :ivar spans: In which seconds the kernel measures runs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.run_ns = 500
        self.measured: tuple[int, int] = (0, 0)
        self.measuring = self.refuses = False
        self.spans: list[int] = []
        monkeypatch.setattr(costs, "read", self.read)
        monkeypatch.setattr(stats, "measured", self.stats)

    def read(self, capture: Any) -> BudgetReading:
        taken = self.now * 7_000_000 if capture.options.chance else 0
        return BudgetReading(
            1000 * self.now, 0, taken, 2 * SECOND * self.now, 10_000_000 * self.now
        )

    @contextmanager
    def stats(self) -> Iterator[None]:
        if self.refuses:
            raise KwalkError("the kernel does not measure BPF programs")
        self.measuring = True
        yield
        self.measuring = False

    def second(self) -> None:
        self.now += 1
        if self.measuring:
            self.spans.append(self.now)
            spent, runs = self.measured
            self.measured = spent + 1000 * self.run_ns, runs + 1000

    def capture(self, sampled: bool = False) -> Any:
        probe = SimpleNamespace(attach="fentry", beside=None, spent=lambda: self.measured)
        return SimpleNamespace(
            probe=probe, options=SimpleNamespace(chance=0.5 if sampled else None)
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_runs_are_measured_now_and_then_and_taken_for_all(world: World) -> None:
    found = []
    with Meter(world.capture()) as meter:
        for _ in range(2 * MEASURE_EVERY + 1):
            world.second()
            found.append(meter.look())
        assert world.measuring
    assert not world.measuring
    assert found[0] == TracingCost(None, 0.005)
    assert world.spans == [2, MEASURE_EVERY + 2]
    for cost in found[1:]:
        assert cost.programs == pytest.approx(1000 * (CALL + 500) / (2 * SECOND))
        assert cost.reader == pytest.approx(0.005)


def test_meter_follows_a_cost_that_changes(world: World) -> None:
    with Meter(world.capture()) as meter:
        for second in range(MEASURE_EVERY + 3):
            world.run_ns = 500 if second < 5 else 900
            world.second()
            cost = meter.look()
    assert cost.programs == pytest.approx(1000 * (CALL + 900) / (2 * SECOND))


def test_meter_knows_no_cost_without_bpf_statistics(world: World) -> None:
    world.refuses = True
    with Meter(world.capture()) as meter:
        for _ in range(3):
            world.second()
            assert meter.look() == TracingCost(None, 0.005)


def test_meter_uses_the_programs_own_times_with_sampling(world: World) -> None:
    with Meter(world.capture(sampled=True)) as meter:
        world.second()
        found = meter.look()
    assert found.programs == pytest.approx((1000 * CALL + 7_000_000) / (2 * SECOND))
    assert world.spans == []


def test_meter_without_runs_knows_no_cost(world: World) -> None:
    with Meter(world.capture()) as meter:
        meter.look()
        assert meter.look() == TracingCost(None, 0.0)
