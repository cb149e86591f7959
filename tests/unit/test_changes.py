# SPDX-License-Identifier: MIT
"""Surroundings that change while a probe is attached."""

from __future__ import annotations

import struct
import time
from errno import EMFILE, ENODEV
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import PLACES, Place
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.options.filters import Cgroup, Filters
from kwalk.probe import changes
from kwalk.probe.changes import Changes


class Machine:
    """CPUs with perf events, and maps of filters.

    :ivar clocks: Nanoseconds that each event has counted.
    :ivar dead: CPUs whose events have ended.
    :ivar step: What each read, or each tick, adds to the others.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.online = {0, 1}
        self.clocks = {0: 1, 1: 1}
        self.dead: set[int] = set()
        self.step = "read"
        self.refuse = False
        self.dropped: list[int] = []
        self.places = b""
        monkeypatch.setattr(changes, "online_cpus", lambda: sorted(self.online))
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", lambda seconds: self.run("tick"))
        monkeypatch.setattr(
            changes, "drop_tasks", lambda map_, numbers: self.dropped.extend(numbers)
        )

    def probe(self, place: Place = Place.ENTRY) -> Any:
        selection = SimpleNamespace(place=place, targets=[SimpleNamespace(name="99")])
        obj = SimpleNamespace(
            sample_clocks=self.read,
            attach_sample=self.attach,
            map=lambda name: self,
        )
        return SimpleNamespace(selection=selection, obj=obj, program="kw_sample", attached=100.0)

    def attach(self, program: str, cpu: int, frequency: int) -> None:
        assert (program, frequency) == ("kw_sample", 99)
        if self.refuse:
            raise LibbpfError("cannot open a perf event", 19)
        self.clocks[cpu] = 0
        self.dead.discard(cpu)

    def read(self) -> dict[int, int]:
        self.run("read")
        return dict(self.clocks)

    def run(self, step: str) -> None:
        """Let clocks that go on from one such step to the next go on."""
        for cpu in self.clocks.keys() - self.dead if step == self.step else ():
            self.clocks[cpu] += 10

    def update(self, key: bytes, value: bytes) -> None:
        self.places = value

    def go_on(self, *dead: int) -> None:
        """Let a second pass."""
        self.now += 1
        self.dead.update(dead)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_cpu_back_online_is_sampled_again_and_reported(machine: Machine) -> None:
    watch = Changes(machine.probe(Place.SAMPLE), Filters(), Filters())
    assert watch.any
    machine.go_on()
    assert watch.look()
    assert not watch.look(), "once a second"
    assert watch.unseen() == []
    machine.online = {0}
    machine.go_on(1)
    watch.look()
    (text,) = watch.unseen()
    assert text.startswith("CPU 1 was offline")
    assert text.endswith("from second 1.0 on")
    machine.online, machine.refuse = {0, 1}, True
    machine.go_on(1)
    watch.look()
    machine.refuse = False
    machine.go_on(1)
    watch.look()
    machine.go_on()
    watch.look()
    (text,) = watch.unseen()
    assert text.endswith("from second 1.0 to 4.0")


@pytest.mark.parametrize("step", ["read", "tick"])
def test_perf_event_that_ended_is_seen_by_the_first_look(machine: Machine, step: str) -> None:
    """Its clock has gone on since the start, as far as the CPU was there."""
    machine.step = step
    watch = Changes(machine.probe(Place.SAMPLE), Filters(), Filters())
    machine.clocks = {0: 500_000_000, 1: 500_000_000}
    machine.go_on(1)
    watch.look(last=True)
    (text,) = watch.unseen()
    assert text.startswith("CPU 1 was offline and not sampled")
    assert text.endswith("from second 0.0 to 1.0")


@pytest.mark.parametrize(("refused", "number"), [({1}, ENODEV), ({0, 1}, ENODEV), ({1}, EMFILE)])
def test_cpu_offline_during_attach_leaves_the_others(
    refused: set[int], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = object.__new__(Object)
    obj._samples = {}

    def attach(name: str, cpu: int, frequency: int) -> None:
        if cpu in refused:
            raise LibbpfError(f"cannot open a perf event on CPU {cpu}", number)
        obj._samples[cpu] = None, -1

    monkeypatch.setattr(obj, "attach_sample", attach)
    if number == ENODEV and len(refused) == 1:
        obj.attach_samples("kw_sample", [0, 1], 99)
        assert set(obj._samples) == {0}
    else:
        with pytest.raises(LibbpfError, match="CPU 1"):
            obj.attach_samples("kw_sample", [0, 1], 99)


def test_cpu_that_comes_online_is_sampled(machine: Machine) -> None:
    machine.online, machine.clocks = {0}, {0: 1}
    watch = Changes(machine.probe(Place.SAMPLE), Filters(), Filters())
    machine.go_on()
    watch.look()
    assert watch.unseen() == [], "nothing happens on a CPU that is off"
    machine.online = {0, 1}
    machine.go_on()
    watch.look()
    assert set(machine.clocks) == {0, 1}
    (text,) = watch.unseen()
    assert text.endswith("from second 1.0 to 2.0")


def test_cpu_filter_reports_offline_periods(machine: Machine) -> None:
    machine.online = {0}
    watch = Changes(machine.probe(), Filters(cpus=(0, 1)), Filters(cpus=(0, 1)))
    assert watch.at_start() == ["CPU 1 is offline: no hits until it is online"]
    machine.online = {0, 1}
    machine.go_on()
    watch.look(last=True)
    assert watch.notes() == ["CPU 1 was offline from second 0.0 to 1.0"]
    assert not Changes(machine.probe(), Filters(comms=("x",)), Filters(comms=("x",))).any


def test_ended_task_is_dropped_by_the_kernels_number(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_PROC", tmp_path)
    for number, ticks in ((3, 5), (4, 5)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / f"{number}/stat").write_text(f"{number} (a ) b) S {'0 ' * 18}{ticks} 0\n")
    asked, kernels = Filters(pids=(3,), tids=(4,)), Filters(pids=(1003,), tids=(1004,))
    watch = Changes(machine.probe(), asked, kernels)
    machine.go_on()
    watch.look()
    assert not machine.dropped
    # The number is another's now.
    (tmp_path / "3/stat").write_text(f"3 (other) S {'0 ' * 18}77 0\n")
    (tmp_path / "4/stat").unlink()
    machine.go_on()
    watch.look()
    machine.go_on()
    watch.look()
    assert machine.dropped == [1003, 1004]
    assert watch.notes() == ["process 3 ended by second 2.0", "thread 4 ended by second 2.0"]
    assert not Changes(machine.probe(), asked, kernels._replace(follow=True)).any


def test_recreated_cgroup_and_netns_are_followed(machine: Machine, tmp_path: Path) -> None:
    cgroup, netns = tmp_path / "service", tmp_path / "blue"
    cgroup.mkdir()
    netns.touch()
    numbers = cgroup.stat().st_ino, netns.stat().st_ino
    filters = Filters(
        cgroups=(Cgroup(7, 0), Cgroup(numbers[0], 1, str(cgroup))),
        netns=(numbers[1], 9),
        netns_paths=(str(netns), ""),
    )
    watch = Changes(machine.probe(), filters, filters)
    machine.go_on()
    watch.look()
    assert not machine.places
    cgroup.rename(tmp_path / "gone")
    machine.go_on()
    watch.look()
    assert watch.notes() == [f"cgroup {cgroup} was removed at second 1.0"]
    cgroup.mkdir()
    machine.go_on()
    watch.look()
    placed = PLACES.unpack(machine.places)
    expected = struct.pack("<4Q", 7, cgroup.stat().st_ino, 0, 0)
    assert placed["cgroup"] == expected  # type: ignore[comparison-overlap]
    assert placed["netns"] == struct.pack("<4I", numbers[1], 9, 0, 0)  # type: ignore[comparison-overlap]
    assert watch.notes() == [
        f"cgroup {cgroup} was recreated: its hits from second 1.0 to 3.0 were filtered"
    ]
