# SPDX-License-Identifier: MIT
"""What is said where a probe saw nothing, by what a canary of the same kind does."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import NO_ADDRESS, Place
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.switches import SwitchedOff
from kwalk.libbpf import LibbpfError
from kwalk.probe import canary, config, no_hits, switched_off
from kwalk.probe.no_hits import Found
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

SYMBOLS = Kallsyms(
    b"ffffffff81000100 T ip_rcv\n"
    b"ffffffff81000200 T __x64_sys_getpgid\n"
    b"ffffffff81000300 T __x64_sys_getpriority\n"
)
ENTRY = Target("ip_rcv", 0xFFFFFFFF81000100, "")
EVENT = Target("sched:sched_switch", NO_ADDRESS, "", event=Place.TRACEPOINT)
OFF = SwitchedOff("ftrace is off", "Switch it on.")


class Machine:
    """A kernel whose programs can be kept from running.

    :ivar runs: How many of the calls a program is run for.
    :ivar refuses: Names of functions that cannot be attached to.
    :ivar tried: Each canary: its way and its label.
    """

    def __init__(self) -> None:
        self.runs = 100
        self.refuses: Collection[str] = ()
        self.tried: list[tuple[str, str]] = []
        self.off: SwitchedOff | None = None
        self.disarmed = False
        self.on_ftrace = True
        self.open = 0

    def attach(self, selection: Selection, symbols: Kallsyms, options: Any, way: str) -> Any:
        self.tried.append((way, selection.label))
        if self.off:
            raise self.off
        if selection.targets[0].name in self.refuses:
            raise LibbpfError("no", 22)
        self.open += 1
        return SimpleNamespace(
            selection=selection, hits=lambda: self.runs, close=self._close, notes=[]
        )

    def _close(self) -> None:
        self.open -= 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(canary, "open_probe", machine.attach)
    monkeypatch.setattr(switched_off, "off", lambda way, selection, symbols: machine.off)
    monkeypatch.setattr(switched_off, "on_ftrace", lambda selection, symbols: machine.on_ftrace)
    facts = lambda obj, symbols: SimpleNamespace(disarmed=machine.disarmed)  # noqa: E731
    monkeypatch.setattr(config, "facts", facts)
    monkeypatch.setattr(canary, "_wait", lambda probe, frequency: min(probe.hits(), canary.CALLS))
    return machine


Look = Callable[..., Found]


@pytest.fixture
def look(machine: Machine) -> Look:
    def run(*targets: Target, way: str = "fentry", hits: int = 0) -> Found:
        selection = Selection("what", targets or (ENTRY,))
        probe: Any = SimpleNamespace(selection=selection, attach=way, obj=None)
        return no_hits.look(probe, SYMBOLS, no_hits.modules(selection), hits)

    return run


def test_canary_is_not_fired_where_something_came(machine: Machine, look: Look) -> None:
    assert look(hits=1) == Found()
    assert machine.tried == []


@pytest.mark.parametrize(
    ("target", "way", "text", "tried"),
    [
        (ENTRY, "fentry", "nothing called it meanwhile", "__x64_sys_getpgid"),
        (
            ENTRY._replace(offset=9),
            "kprobe",
            "nothing ran that instruction",
            "__x64_sys_getpgid+0x5",
        ),
        (ENTRY._replace(returns=True), "fexit", "no call that began", "r:__x64_sys_getpgid"),
        (EVENT, "raw_tp", "it was not reached meanwhile", "t:raw_syscalls:sys_enter"),
        (EVENT._replace(event=Place.SAMPLE, name="50"), "perf_event", "no sample was", "50 Hz"),
    ],
)
def test_canary_that_fires_confirms_that_nothing_came(
    machine: Machine, look: Look, target: Target, way: str, text: str, tried: str
) -> None:
    unseen, (note,) = look(target, way=way)
    assert unseen == ""
    assert note.startswith(text)
    assert "(a probe of the same kind fired 3 of 3 times" in note
    assert machine.tried == [(way, tried)]
    assert machine.open == 0


@pytest.mark.parametrize("name", ["__x64_sys_getpgid", "__x64_sys_getpriority"])
def test_canary_is_never_what_was_traced(machine: Machine, look: Look, name: str) -> None:
    look(ENTRY, Target(name, SYMBOLS.address(name), ""))
    assert len(machine.tried) == 1
    assert machine.tried[0][1] in {"__x64_sys_getpgid", "__x64_sys_getpriority"} - {name}


def test_canary_that_does_not_fire_is_told(machine: Machine, look: Look) -> None:
    machine.runs = 0
    unseen, notes = look()
    assert unseen == (
        "the kernel does not run such probes: one of the same kind fired 0 of 3 times on "
        "__x64_sys_getpgid"
    )
    assert notes == ()


def test_canary_goes_on_to_what_can_be_attached_to(machine: Machine, look: Look) -> None:
    machine.refuses = ["__x64_sys_getpgid"]
    _, (note,) = look()
    assert "on __x64_sys_getpriority" in note
    machine.refuses = ["__x64_sys_getpgid", "__x64_sys_getpriority"]
    unseen, (note,) = look()
    assert unseen == ""
    assert note.startswith("no hit; whether the kernel runs such probes could not be tried")
    assert "nothing called" not in note


@pytest.mark.parametrize("hits", [0, 7])
def test_switch_turned_off_meanwhile_is_told(machine: Machine, look: Look, hits: int) -> None:
    machine.off = OFF
    start = "some calls may be missing" if hits else "the kernel does not run the probe"
    assert look(hits=hits) == Found(f"{start}: ftrace is off")
    assert machine.tried == []


@pytest.mark.parametrize(
    ("way", "told"), [("kprobe", True), ("kretprobe", True), ("fentry", False)]
)
def test_kprobes_disarmed_meanwhile_are_told(
    machine: Machine, look: Look, way: str, told: bool
) -> None:
    machine.disarmed = True
    assert ("kprobes are switched off" in look(way=way, hits=7).unseen) == told


def test_canary_of_a_breakpoint_is_one(machine: Machine, look: Look) -> None:
    machine.on_ftrace = False
    look(way="kprobe")
    look(way="fentry")
    assert machine.tried == [("kprobe", "__x64_sys_getpgid+0x5"), ("fentry", "__x64_sys_getpgid")]


@pytest.mark.parametrize("hits", [0, 7])
@pytest.mark.parametrize("back", [True, False], ids=["reloaded", "unloaded"])
def test_module_unloaded_meanwhile_took_the_probe_with_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hits: int, back: bool
) -> None:
    selection = Selection.one(ENTRY._replace(module="dummy"))
    (tmp_path / "dummy").mkdir()
    look = no_hits.modules
    monkeypatch.setattr(no_hits, "modules", lambda selection: look(selection, tmp_path))
    before = no_hits.modules(selection)
    probe: Any = SimpleNamespace(selection=selection, attach="kprobe", obj=None)
    assert no_hits.look(probe, SYMBOLS, before, 1) == Found()
    (tmp_path / "dummy").rename(tmp_path / "old")
    if back:
        (tmp_path / "dummy").mkdir()
    unseen, notes = no_hits.look(probe, SYMBOLS, before, hits)
    assert unseen.endswith("module dummy was unloaded meanwhile, which removed the probe")
    assert unseen.startswith("some calls may be missing" if hits else "the kernel does not run")
    assert notes == ()
    assert machine.tried == []
