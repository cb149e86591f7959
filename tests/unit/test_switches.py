# SPDX-License-Identifier: MIT
"""Switches of the kernel that keep probes from firing, and which ways depend on them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kwalk.abi import NO_ADDRESS, Place
from kwalk.kernel import switches
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe import ftrace_sites, switched_off
from kwalk.probe.ftrace_sites import Traceable
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

SYMBOLS = Kallsyms(b"ffffffff81000100 T ip_rcv\nffffffff81000200 T kprobe_ftrace_handler\n")
NEVER_BY_FTRACE = Kallsyms(b"ffffffff81000100 T ip_rcv\n")
ENTRY = Target("ip_rcv", 0xFFFFFFFF81000100, "")
PATHS = ("FTRACE", "SAMPLE_RATE", "SCHEDSTATS")
ALL = ["fentry", "fexit", "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi"]


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a file for each switch, by the names in ``switches``."""
    for name in PATHS:
        monkeypatch.setattr(switches, name, tmp_path / name)
    (tmp_path / "FTRACE").write_text("1\n")
    return tmp_path


def off(way: str, target: Target) -> str:
    found = switched_off.off(way, Selection.one(target), SYMBOLS)
    return found.what if found else ""


def event(name: str, place: Place = Place.TRACEPOINT) -> Target:
    return Target(name, NO_ADDRESS, "", event=place)


@pytest.mark.parametrize("text", ["1\n", "2\n", "", None])
def test_ftrace_is_off_only_where_the_kernel_says_so(proc: Path, text: str | None) -> None:
    (proc / "FTRACE").unlink() if text is None else (proc / "FTRACE").write_text(text)
    assert switches.ftrace() is None


def test_ftrace_that_is_off_is_told_with_what_to_do(proc: Path) -> None:
    (proc / "FTRACE").write_text("0\n")
    found = switches.ftrace()
    assert found
    assert found.exit_code == 1
    assert found.what.endswith("is switched off (kernel.ftrace_enabled is 0)")
    assert found.hint.startswith("Switch it on: sysctl kernel.ftrace_enabled=1.")


def test_ftrace_that_is_dead_is_not_to_be_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> str:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(Path, "read_text", read)
    found = switches.ftrace()
    assert found
    assert "until the next boot" in found.what
    assert "sysctl" not in found.hint


@pytest.mark.parametrize("way", ALL)
def test_functions_are_not_attached_to_without_ftrace(
    proc: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: Traceable())
    assert off(way, ENTRY) == ""
    (proc / "FTRACE").write_text("0\n")
    assert "ftrace" in off(way, ENTRY)


@pytest.mark.parametrize(
    ("places", "way", "stopped"),
    [
        ([], "kprobe", False),
        ([], "kretprobe", False),
        ([], "kprobe.multi", True),
        ([], "fentry", True),
        ([ENTRY.address], "kprobe", True),
        ([ENTRY.address + 4], "kretprobe", True),
    ],
)
def test_kprobe_that_is_a_breakpoint_needs_no_ftrace(
    proc: Path, monkeypatch: pytest.MonkeyPatch, places: list[int], way: str, stopped: bool
) -> None:
    known = Traceable(frozenset(places))
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: known)
    (proc / "FTRACE").write_text("0\n")
    assert bool(off(way, ENTRY)) == stopped


@pytest.mark.parametrize(
    ("way", "stopped"), [("kprobe", False), ("kretprobe", False), ("fentry", True)]
)
def test_kernel_whose_kprobes_are_all_breakpoints_needs_ftrace_for_none(
    proc: Path, monkeypatch: pytest.MonkeyPatch, way: str, stopped: bool
) -> None:
    """Without CONFIG_KPROBES_ON_FTRACE, as on arm64."""
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: Traceable())
    (proc / "FTRACE").write_text("0\n")
    assert bool(switched_off.off(way, Selection.one(ENTRY), NEVER_BY_FTRACE)) == stopped


@pytest.mark.parametrize(("offset", "stopped"), [(4, True), (5, False), (9, False), (0x1F, False)])
def test_instruction_inside_needs_no_ftrace_behind_its_call(
    proc: Path, monkeypatch: pytest.MonkeyPatch, offset: int, stopped: bool
) -> None:
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: Traceable())
    (proc / "FTRACE").write_text("0\n")
    assert bool(off("kprobe", ENTRY._replace(offset=offset))) == stopped


def test_events_need_no_ftrace(proc: Path) -> None:
    (proc / "FTRACE").write_text("0\n")
    assert off("raw_tp", event("sched:sched_switch")) == ""
    assert off("perf_event", event("99", Place.SAMPLE)) == ""


@pytest.mark.parametrize(("most", "asked", "stopped"), [(50, 99, True), (99, 99, False)])
def test_samples_are_no_more_than_the_kernel_takes(
    proc: Path, most: int, asked: int, stopped: bool
) -> None:
    (proc / "SAMPLE_RATE").write_text(f"{most}\n")
    what = off("perf_event", event(str(asked), Place.SAMPLE))
    assert bool(what) == stopped
    assert ("kernel.perf_event_max_sample_rate is 50" in what) == stopped


@pytest.mark.parametrize("name", ["wait", "sleep", "iowait", "blocked"])
def test_scheduler_statistics_have_a_switch_of_their_own(proc: Path, name: str) -> None:
    (proc / "SCHEDSTATS").write_text("0\n")
    assert "kernel.sched_schedstats is 0" in off("raw_tp", event(f"sched:sched_stat_{name}"))
    assert off("raw_tp", event("sched:sched_stat_runtime")) == ""
    (proc / "SCHEDSTATS").write_text("1\n")
    assert off("raw_tp", event(f"sched:sched_stat_{name}")) == ""
