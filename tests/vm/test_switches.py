# SPDX-License-Identifier: MIT
"""Switches of the kernel that stop attached probes: reported before and after tracing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TRACING, call, only_on, start
from machine import HERE

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.attach_multi import MULTI, lacks_multi

SYSCTL = Path("/proc/sys/kernel")
FTRACE = SYSCTL / "ftrace_enabled"
KPROBES = Path("/sys/kernel/debug/kprobes/enabled")
BEHIND_FTRACE = f"vfs_read+{HERE.behind_ftrace:#x}"
UNCALLED = "kernel_restart"
SHORT = ["--duration", "0.3"]
WAYS = [
    "entry by fentry",
    "entry by kprobe",
    "entry by fentry.multi",
    "entry by kprobe.multi",
    "return by fexit",
    "return by fexit.multi",
    "return by kretprobe",
    "return by kretprobe.multi",
    "inside by kprobe",
    "raw tracepoints",
    "tracepoints by perf",
    "samples",
]
# Ways that are neither ftrace's nor, at a function's entry or return, may be.
WITHOUT_FTRACE = WAYS[8:]


@pytest.fixture(scope="module")
def able(symbols: Kallsyms) -> list[str]:
    """Ways that this kernel has."""
    lacking = {way for way in MULTI if lacks_multi(way, symbols)}
    return [way for way in WAYS if way.split()[-1] not in lacking]


@pytest.fixture(scope="module")
def breakpoints(symbols: Kallsyms) -> bool:
    """Return whether kprobes never go through ftrace (CONFIG_KPROBES_ON_FTRACE)."""
    return not symbols.address("kprobe_ftrace_handler")


@contextmanager
def switched(path: Path, to: str) -> Iterator[None]:
    before = path.read_text()
    path.write_text(to)
    try:
        yield
    finally:
        path.write_text(before)


def refused(*words: str) -> str:
    """Run a command that must be refused; return the message."""
    code, out, err = call("kwalk", *words)
    assert (code, out) == (1, ""), err
    assert "Traceback" not in err
    assert "tracing" not in err.splitlines()[0], "it was attached"
    return err


def hits(*words: str) -> int:
    """Count for a moment while reading a file; return the number of hits."""
    code, out, err = call("kwalk", "count", *words, "--format", "json", *SHORT)
    assert code == 0, err
    found: int = json.loads(out.splitlines()[-1])["ledger"]["hits"]
    return found


def doctor() -> tuple[int, dict[str, bool], str]:
    code, out, err = call("kwalk", "doctor", "--format", "json", timeout=300)
    assert err == ""
    found = json.loads(out)
    return code, {way["name"]: way["works"] for way in found["ways"]}, out


@only_on("debian-13")
@pytest.mark.parametrize("attach", ["auto", "kprobe", "kprobe.multi"])
def test_ftrace_switched_off_is_told_before_attaching(
    attach: str, symbols: Kallsyms, breakpoints: bool
) -> None:
    if attach in MULTI and (why := lacks_multi(attach, symbols)):
        pytest.skip(why)
    if attach not in MULTI and breakpoints:
        with switched(FTRACE, "0"):
            assert hits("vfs_read", "--attach", attach)
        return
    with switched(FTRACE, "0"):
        err = refused("count", "vfs_read", "--attach", attach, *SHORT)
    assert "kernel.ftrace_enabled is 0" in err
    assert "sysctl kernel.ftrace_enabled=1" in err


@only_on("debian-13")
def test_ftrace_is_whole_after_it_was_switched_off_and_on(breakpoints: bool) -> None:
    several = ["vfs_read", "--attach", "fentry"] if breakpoints else ["vfs_*"]
    with switched(FTRACE, "0"):
        for words in (
            ["count", *several],
            ["stream", "r:vfs_read", *several[1:]],
            ["record", "-o", "/dev/null", *several],
        ):
            assert "kernel.ftrace_enabled is 0" in refused(*words, *SHORT)
    assert hits("vfs_read", "--attach", "fentry")
    assert FTRACE.read_text() == "1\n"
    with (TRACING / "available_filter_functions").open() as file:
        assert file.read(1)


@only_on("debian-13")
def test_probes_that_need_no_ftrace_go_on_without_it() -> None:
    with switched(FTRACE, "0"):
        for words in ([BEHIND_FTRACE], ["t:sched:sched_switch"], ["--freq", "99"]):
            assert hits(*words), words


@only_on("debian-13")
def test_kprobes_switched_off_are_told_and_another_way_is_taken() -> None:
    with switched(KPROBES, "0"):
        for words in (["vfs_read", "--attach", "kprobe"], [BEHIND_FTRACE]):
            assert f"{KPROBES} is 0" in refused("count", *words, *SHORT)
        code, _, err = call("kwalk", "count", "vfs_read", "--method", "helper", *SHORT)
        assert code == 0
        assert "not by kprobe: kprobes are switched off" in err
        assert "helper by fentry" in err


@only_on("debian-13")
def test_kprobes_switched_off_are_told_without_debugfs() -> None:
    with switched(KPROBES, "0"):
        subprocess.run(["umount", "/sys/kernel/debug"], check=True)
        try:
            assert not KPROBES.exists()
            assert "kprobes are switched off" in refused("count", BEHIND_FTRACE, *SHORT)
        finally:
            subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=True)


@only_on("debian-13")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([UNCALLED, "--attach", "kprobe"], "the kernel does not run the probe: kprobes"),
        (["vfs_read", "--attach", "kprobe"], "some calls may be missing: kprobes"),
    ],
    ids=["nothing", "something"],
)
def test_switch_turned_off_meanwhile_is_told(words: list[str], said: str) -> None:
    # Not by ftrace: detaching while it is off can make the kernel shut it down.
    process = start("kwalk", "count", *words)
    assert process.stderr
    assert "tracing" in process.stderr.readline()
    with switched(KPROBES, "0"):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"  not seen: {said}" in err
    assert "nothing called" not in err


@only_on("debian-13")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attach", "fentry", UNCALLED], "nothing called it meanwhile"),
        (["--attach", "kprobe", UNCALLED], "nothing called it meanwhile"),
        (
            ["--attach", "kprobe.multi", f"r:{UNCALLED}"],
            "no call that began meanwhile has returned",
        ),
        (["t:oom:oom_score_adj_update"], "it was not reached meanwhile"),
        (["t:syscalls:sys_enter_reboot"], "it was not reached meanwhile"),
    ],
    ids=["fentry", "kprobe", "kretprobe.multi", "raw_tp", "tracepoint"],
)
def test_canary_that_fires_confirms_that_nothing_came(
    words: list[str], said: str, symbols: Kallsyms
) -> None:
    if "kprobe.multi" in words and (why := lacks_multi("kprobe.multi", symbols)):
        pytest.skip(why)
    code, _, err = call("kwalk", "count", *words, *SHORT)
    assert code == 0, err
    assert "0 calls = " in err or "0 events = " in err
    assert f"note: {said} (a probe of the same kind fired 3 of 3 times on " in err


@only_on("debian-13")
def test_doctor_fires_a_canary_by_each_way(able: list[str]) -> None:
    code, ways, out = doctor()
    assert code == 0
    assert list(ways) == WAYS
    assert [name for name, it in ways.items() if it] == able, out
    assert out.count("fired 3 of 3 times on") == len(able) - 1


@only_on("debian-13")
@pytest.mark.parametrize("path", [FTRACE, KPROBES], ids=["ftrace", "kprobes"])
def test_doctor_knows_what_a_switch_stops(path: Path, able: list[str], breakpoints: bool) -> None:
    one_by_one = [way for way in able if way.endswith(("kprobe", "kretprobe"))]
    if path == KPROBES:
        works = [way for way in able if way not in one_by_one]
    else:
        works = [
            way for way in able if way in WITHOUT_FTRACE or (breakpoints and way in one_by_one)
        ]
    by_function = path == KPROBES or breakpoints
    with switched(path, "0"):
        found, ways, out = doctor()
    assert [name for name, it in ways.items() if it] == works, out
    assert found == (0 if by_function else 3)
    assert json.loads(out)["method"] == ("manual" if by_function else "")


@only_on("debian-13")
def test_scheduler_statistics_that_are_off_are_told() -> None:
    with switched(SYSCTL / "sched_schedstats", "0"):
        err = refused("count", "t:sched:sched_stat_sleep", *SHORT)
    assert "sysctl kernel.sched_schedstats=1" in err
    with switched(SYSCTL / "sched_schedstats", "1"):
        assert hits("t:sched:sched_stat_sleep")


@only_on("debian-12")
def test_sample_rate_above_the_sysctl_is_refused() -> None:
    with switched(SYSCTL / "perf_event_max_sample_rate", "50"):
        err = refused("count", "--freq", "99", *SHORT)
        assert hits("--freq", "50")
    assert "kernel.perf_event_max_sample_rate is 50" in err


@only_on("debian-12")
def test_module_unloaded_meanwhile_takes_the_probe_with_it() -> None:
    subprocess.run(["modprobe", "dummy", "numdummies=0"], check=True)
    process = start("kwalk", "count", "dummy:dummy_xmit", "--attach", "kprobe")
    assert process.stderr
    assert "tracing" in process.stderr.readline()
    subprocess.run(["rmmod", "dummy"], check=True)
    subprocess.run(["modprobe", "dummy", "numdummies=1"], check=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    subprocess.run(["rmmod", "dummy"], check=True)
    assert process.returncode == 1
    assert "  not seen: the kernel does not run the probe: module dummy was unloaded" in err
    assert "nothing called" not in err
