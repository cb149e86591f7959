# SPDX-License-Identifier: MIT
"""Counting until it is time to stop, with what was counted in between at intervals."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import session_of

from kwalk.api.profile import Profile
from kwalk.cli import counting, tracing
from kwalk.cli.tracing import Finished
from kwalk.errors import OutputError
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count, Group, Stack

STACKS = [Stack((1,)), Stack((1, 2)), Stack((1, 2), truncated=True)]
PROCESSES = [None, Group("pid", 7, "redis"), Group("pid", 8, "nginx")]
# What is added to which stack of which process between two looks.
ADDED = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from(STACKS), st.sampled_from(PROCESSES)), st.integers(0, 1 << 40)
    ),
    max_size=6,
)
Key = tuple[Stack, Group | None]


def counts(sums: dict[Key, int]) -> Sequence[Count]:
    found = [Count(stack, number, process) for (stack, process), number in sums.items() if number]
    return sorted(found, key=lambda count: count.count)


@given(ADDED)
def test_interval_has_the_counts_since_the_last(added: list[dict[Key, int]]) -> None:
    before: dict[Key, int] = {}
    sums: dict[Key, int] = {}
    for more in added:
        for key, number in more.items():
            sums[key] = sums.get(key, 0) + number
        new = counting.since(before, counts(sums))
        found = {(count.stack, count.group): count.count for count in new}
        assert len(found) == len(new)
        assert found == {key: number for key, number in more.items() if number}
        assert [count.count for count in new] == sorted(count.count for count in new)


class World:
    """A clock, a capture that counts one call of each stack a second, and what is printed.

    :ivar lasts: Texts until the reader goes away.
    :ivar full: There is no more room after that.
    :ivar slow: Seconds that it takes to print each interval.
    """

    def __init__(self) -> None:
        self.now = self.started = 100.0
        self.stopped = False
        self.stop_at = float("inf")
        self.lasts = 1000
        self.slow: list[float] = []
        self.full = False
        self.detached = False
        self.intervals: list[tuple[int, float]] = []
        self.ends: list[Sequence[Count]] = []
        self.texts: list[str] = []
        self.told = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger())
        self.open = True
        self.failed: OutputError | None = None
        self.probe = SimpleNamespace(functions=1)
        self.due = math.inf

    def wait(self, seconds: float) -> None:
        assert 0 <= seconds <= 1
        self.now += seconds
        self.stopped = self.now >= self.stop_at

    def counts(self) -> Sequence[Count]:
        number = int(self.now * 1000) - 100_000
        return [Count(STACKS[0], number), Count(STACKS[1], 10 * number)] if number else []

    def look(self) -> None:
        assert not self.detached

    def news(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.detached = True

    def summary(self) -> Summary:
        assert self.detached
        ledger = self.told.ledger
        for count in self.counts():
            ledger.record(count.stack, count.count)
        ledger.hits = ledger.recorded
        return self.told

    @property
    def seconds(self) -> float:
        return self.now - self.started

    def interval(self, found: Sequence[Count], seconds: float, ended: float) -> str:
        assert ended == self.now
        self.intervals.append((sum(count.count for count in found), round(seconds, 6)))
        return "interval"

    def end(self, profile: Profile) -> str:
        assert profile.summary is self.told
        self.ends.append(profile.counts)
        return "end"

    def goes_on(self, end: float) -> bool:
        return not self.stopped and self.now < end

    def patient(self, stalled: float) -> bool:
        return stalled < 1

    def write(self, text: str, patience: Callable[[float], bool]) -> bool:
        if not self.open or not text:
            return self.open
        self.texts.append(text)
        if text == "interval":
            self.now += self.slow.pop(0) if self.slow else 0
        self.open = len(self.texts) <= self.lasts
        if self.full and not self.open:
            self.failed = OutputError(OSError(errno.ENOSPC, "No space left on device"))
        return self.open

    complete = write


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    clock = SimpleNamespace(monotonic=lambda: world.now, time=lambda: world.now)
    for module in (counting, tracing):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(counting, "Printer", lambda: world)
    return world


def run(world: Any, duration: float | None = None, interval: float | None = None) -> None:
    session = session_of(world, world)
    assert counting.run(session, world, duration, interval) == Finished(world.told)
    (total,) = world.ends
    assert sum(count.count for count in total) == 11 * (int(world.now * 1000) - 100_000)


def test_count_runs_until_stopped(world: World) -> None:
    world.stop_at = 142
    run(world)
    assert world.now == pytest.approx(142)
    assert world.texts == ["end"]


def test_count_ends_after_its_duration(world: World) -> None:
    run(world, duration=2.5)
    assert world.now == pytest.approx(102.5)
    assert world.texts == ["end"]


def test_intervals_are_printed_before_the_total(world: World) -> None:
    run(world, duration=3.5, interval=1)
    assert world.texts == ["interval"] * 4 + ["end"]
    assert world.intervals == [(11_000, 1)] * 3 + [(5_500, 0.5)]
    assert world.now == pytest.approx(103.5)


def test_duration_begins_when_the_probe_was_attached(world: World) -> None:
    world.now += 2
    counting.run(session_of(world, world), world, 3, 1)  # type: ignore[arg-type]
    assert world.now == pytest.approx(103)
    assert [length for _, length in world.intervals] == [2, 1]


@pytest.mark.parametrize(
    ("interval", "lasts", "texts"), [(1, 2, ["interval"] * 3), (None, 0, ["end"])]
)
def test_full_output_ends_counting_with_the_summary(
    world: Any, interval: float | None, lasts: int, texts: list[str]
) -> None:
    world.full, world.lasts = True, lasts
    finished = counting.run(session_of(world, world), world, 9.5, interval)
    assert finished.summary is world.told
    assert finished.failed
    assert world.detached
    assert world.texts == texts
    ledger = world.told.ledger
    printed = 11_000 * lasts
    assert (ledger.recorded, ledger.balance) == (printed, 0)
    assert ledger.lost == {"output_closed": ledger.hits - printed}


def test_interval_longer_than_a_second_is_kept(world: World) -> None:
    run(world, duration=5, interval=2.25)
    assert world.intervals == [(24_750, 2.25)] * 2 + [(5_500, 0.5)]


def test_interval_tells_its_real_length_where_printing_is_slow(world: World) -> None:
    world.slow = [2.5] * 4
    run(world, duration=9, interval=1)
    assert [seconds for _, seconds in world.intervals] == [1, 2.5, 2.5, 2.5, 2.5]
    assert all(number == 11_000 * seconds for number, seconds in world.intervals)


def test_intervals_resume_after_a_paused_reader(world: World) -> None:
    world.slow = [60.25]
    run(world, duration=63.5, interval=1)
    lengths = [seconds for _, seconds in world.intervals]
    assert lengths == [1, 60.25, 0.75, 1, 0.5]
    assert all(number == 11_000 * seconds for number, seconds in world.intervals)


def test_interval_longer_than_the_duration_has_its_block(world: World) -> None:
    run(world, duration=1, interval=5)
    assert world.texts == ["interval", "end"]
    assert world.intervals == [(11_000, 1)]


def test_count_stops_when_the_reader_is_gone(world: World) -> None:
    world.lasts = 1
    run(world, duration=100, interval=1)
    assert world.texts == ["interval", "interval"]
    assert world.detached


def test_early_stop_prints_the_total(world: World) -> None:
    world.stopped = True
    run(world, duration=100, interval=1)
    assert world.texts == ["end"]
    assert world.ends == [[]]
