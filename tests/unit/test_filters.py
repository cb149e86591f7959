# SPDX-License-Identifier: MIT
"""Whose calls are wanted: from a command line to what the program is told."""

from __future__ import annotations

import argparse
import mmap
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import CONFIG, GATE, GATES, PLACES, TASKS, Filtered, Output
from kwalk.cli import trace_options
from kwalk.cli.commands import count
from kwalk.cli.main import main
from kwalk.errors import UsageError
from kwalk.kernel import cgroups
from kwalk.options import filter_names, filters
from kwalk.options.filters import Cgroup, Filters
from kwalk.options.keywords import probe_options
from kwalk.transport.filter_maps import Gates, drop_tasks, put_tasks


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Process 10 with a thread 11, CPUs 0 to 3, a cgroup tree, a named network namespace."""
    for pid, tgid in ((10, 10), (11, 10), (12, 12)):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/status").write_text(f"Name:\tredis\nTgid:\t{tgid}\nPid:\t{pid}\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "cgroup/a/b").mkdir(parents=True)
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns/blue").touch()
    (tmp_path / "possible").write_text("0-3\n")
    mount(tmp_path)
    monkeypatch.setattr(filter_names, "PROC", tmp_path / "proc")
    monkeypatch.setattr(cgroups, "MOUNTINFO", tmp_path / "proc/self/mountinfo")
    monkeypatch.setattr(filter_names, "NETNS", tmp_path / "netns")
    monkeypatch.setattr(filter_names, "CPUS", tmp_path / "possible")
    return tmp_path


def mount(machine: Path, root: str = "/") -> None:
    (machine / "proc/self/mountinfo").write_text(
        "22 1 0:20 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        f"23 1 0:21 {root} {machine}/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    )


def chosen(monkeypatch: pytest.MonkeyPatch, *words: str) -> Filters:
    """What these words of a command line come to."""
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    monkeypatch.setattr(count.command, "run", run)
    assert main(["ip_rcv", *words]) == 0
    return probe_options(trace_options.choices(seen[0]), Output.COUNT).filters


def test_filter_options_become_filters(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--pid=10,12", "--pid", "10", "--tid", "11", "--comm=redis-server,curl", "--cpu=0,2-3"]
    words += [
        "--netns",
        "blue",
        "--netns",
        "4026531840",
        "--cgroup",
        "a/b",
        "--cgroup",
        "/",
        "--follow",
    ]
    words[-2] = str(machine / "cgroup")
    found = chosen(monkeypatch, *words)
    blue = (machine / "netns/blue").stat().st_ino
    inner, top = (machine / "cgroup/a/b").stat().st_ino, (machine / "cgroup").stat().st_ino
    assert found == Filters(
        pids=(10, 12, 10),
        tids=(11,),
        comms=("redis-server", "curl"),
        cpus=(0, 2, 3),
        netns=(blue, 4026531840),
        cgroups=(Cgroup(inner, 2, f"{machine}/cgroup/a/b"), Cgroup(top, 0, f"{machine}/cgroup")),
        follow=True,
        netns_paths=(f"{machine}/netns/blue", ""),
    )
    assert found.kinds == sum(Filtered)
    assert not Filters()
    assert chosen(monkeypatch) == Filters()


def test_cgroup_level_counts_from_the_kernels_root(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(machine, "/docker/x")
    found = chosen(monkeypatch, "--cgroup", "a")
    assert found.cgroups[0].level == 3


def test_comm_is_cut_to_15_bytes(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, "--comm", "a-name-of-20-letters")
    assert found.comms == ("a-name-of-20-le",)


def test_comm_cut_within_a_character_is_compared_by_bytes(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chosen(monkeypatch, "--comm", ("x" * 14 + "\N{DEGREE SIGN}"))
    assert found.config()["comm"] == b"x" * 14 + b"\xc2\0"


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["--pid", "13"], "there is no process 13", "ps"),
        (["--pid", "11"], "11 is a thread of process 10", "thread 11, or for process 10"),
        (["--tid", "13"], "there is no thread 13", "LWP"),
        (["--cpu", "4"], "there is no CPU 4", "0-3"),
        (["--netns", "red"], "network namespace red: .*netns/red: No such file", "ip netns"),
        (["--netns", "/nowhere/net"], "network namespace /nowhere/net: ", "/proc/PID/ns/net"),
        (["--cgroup", "c"], "cgroup .*cgroup/c: No such file", "systemd-cgls"),
        (["--cgroup", "/etc"], "/etc is not a cgroup of version 2", "cgroup"),
        (["--cgroup", "../x"], "../x is not a cgroup of version 2", "cgroup"),
        (["--follow"], "follow needs processes to follow", "command"),
        (["--comm=a,b,c,d,e"], "more than 4 comms were given", "fewer"),
    ],
)
def test_missing_filter_value_is_named(
    machine: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], what: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        chosen(monkeypatch, *words)
    assert hint in caught.value.hint


def test_cpu_range_that_runs_backwards_is_corrected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["ip_rcv", "--cpu=0,3-1"])
    assert "argument --cpu: 3-1 has no CPU in it: 1-3 has" in capsys.readouterr().err


def test_cgroups_have_their_paths(machine: Path) -> None:
    top = machine / "cgroup"
    assert cgroups.paths() == {
        top.stat().st_ino: "/",
        (top / "a").stat().st_ino: "/a",
        (top / "a/b").stat().st_ino: "/a/b",
    }
    (machine / "proc/self/mountinfo").write_text("")
    assert cgroups.paths() == {}


def test_cgroups_that_vanish_while_they_are_listed_are_left_out(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def vanish(path: str) -> object:
        if str(path).endswith("/a"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanish)
    assert sorted(cgroups.paths().values()) == ["/", "/a"]


@pytest.mark.parametrize(
    ("path", "depth"), [("/", 0), ("/a/b", 2), ("/..", -1), ("/../../a", -1), ("/../a/b", 1)]
)
def test_depth_of_a_cgroup_counts_from_the_root_of_the_namespace(path: str, depth: int) -> None:
    assert cgroups.depth(path) == depth


def test_numbers_of_tasks_are_refused_with_another_namespaces_proc(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_names, "same_proc", lambda: False)
    for words in (["--pid=10"], ["--tid=11"]):
        with pytest.raises(UsageError, match="/proc belongs to another PID namespace"):
            chosen(monkeypatch, *words)


def test_missing_cgroup2_mount_is_told(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "proc/self/mountinfo").write_text("22 1 0:20 / /x rw - cgroup cgroup rw\n")
    with pytest.raises(UsageError, match="no cgroup hierarchy of version 2 is mounted"):
        chosen(monkeypatch, "--cgroup", "a")


@pytest.mark.parametrize(
    "word",
    ["--pid=", "--pid=x", "--pid=-1", "--pid=1,,2", "--tid=1.5", "--cpu=", "--cpu=1-", "--cpu=a",
     "--cpu=3-1", "--cpu=0,3-1",
     "--sample=3", "--sample=1/0", "--pid=99999999999"],
)  # fmt: skip
def test_invalid_filter_value_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ip_rcv", word])
    assert caught.value.code == 2
    assert f"argument {word.split('=')[0]}: " in capsys.readouterr().err


def test_filters_are_written_into_the_config(machine: Path) -> None:
    chosen = Filters(comms=("redis", "é"), netns=(7, 8), cgroups=(Cgroup(1 << 40, 2), Cgroup(5, 0)))
    told = CONFIG.unpack(CONFIG.pack(chosen.config()))
    assert told["filter"] == Filtered.COMM | Filtered.NETNS | Filtered.CGROUP
    assert (told["comms"], told["netnses"], told["cgroups"]) == (2, 2, 2)
    assert told["comm"] == b"redis".ljust(16, b"\0") + "é".encode().ljust(48, b"\0")  # type: ignore[comparison-overlap]
    places = PLACES.unpack(filters.places(chosen.netns, [1 << 40, 5]))
    assert struct.unpack("<4I", places["netns"]) == (7, 8, 0, 0)  # type: ignore[arg-type]
    assert struct.unpack("<4Q", places["cgroup"]) == (1 << 40, 5, 0, 0)  # type: ignore[arg-type]
    assert struct.unpack("<4I", told["cgroup_level"]) == (2, 0, 0, 0)  # type: ignore[arg-type]
    blank = CONFIG.unpack(CONFIG.pack(Filters().config()))
    assert not any(value for value in blank.values() if isinstance(value, int))


def test_tasks_are_put_where_the_program_looks_for_them() -> None:
    fd = os.memfd_create("set")
    os.truncate(fd, TASKS // 8)
    numbers = {1, 63, 64, 4097, 65535, TASKS - 1}
    handle: Any = SimpleNamespace(fd=fd)
    put_tasks(handle, numbers)
    with mmap.mmap(fd, TASKS // 8) as memory:
        words = struct.unpack(f"<{TASKS // 64}Q", memory[:])
    drop_tasks(handle, numbers - {63})
    with mmap.mmap(fd, TASKS // 8) as memory:
        left = int.from_bytes(memory[:], "little")
    assert left == 1 << 63
    os.close(fd)
    # kw_in_set() in bpf/trace/filter.bpf.h
    assert {n for n in range(TASKS) if words[n // 64] and words[n // 64] >> (n & 63) & 1} == numbers


def test_tasks_of_one_byte_of_the_set_leave_each_other_in() -> None:
    fd = os.memfd_create("set")
    os.truncate(fd, TASKS // 8)
    handle: Any = SimpleNamespace(fd=fd)
    put_tasks(handle, [8, 10])
    put_tasks(handle, [9])
    assert os.pread(fd, 2, 0) == b"\0\x07"
    drop_tasks(handle, [9])
    assert os.pread(fd, 2, 0) == b"\0\x05"
    os.close(fd)


def test_gates_count_what_they_refused_and_can_be_shut() -> None:
    fd = os.memfd_create("gates")
    os.truncate(fd, GATES * GATE.size)
    handle: Any = SimpleNamespace(fd=fd)
    gates = Gates(handle, cpus=4)
    with mmap.mmap(fd, GATES * GATE.size) as memory:
        for cpu, number in ((0, 5), (3, 7)):
            struct.pack_into("<Q", memory, cpu * GATE.size, number)
        assert gates.filtered() == 12
        gates.shut([1, 3])
        found = [GATE.unpack(memory[n * GATE.size :][: GATE.size]) for n in range(5)]
    gates.close()
    os.close(fd)
    assert [gate["closed"] for gate in found] == [0, 1, 0, 1, 0]
    assert found[3]["filtered"] == 7


def test_gates_of_levels_are_added_up_and_shut_alike() -> None:
    handles: list[Any] = [SimpleNamespace(fd=os.memfd_create("gates")) for _ in range(2)]
    for handle in handles:
        os.truncate(handle.fd, GATES * GATE.size)
    gates = Gates(handles[0], cpus=2)
    gates.shut([1])
    gates.add(handles[1])
    for handle, number in zip(handles, (5, 7), strict=True):
        with mmap.mmap(handle.fd, GATES * GATE.size) as memory:
            struct.pack_into("<Q", memory, GATE.size, number)
            assert [GATE.unpack(memory[at:])["closed"] for at in (0, GATE.size)] == [0, 1]
        os.close(handle.fd)
    assert [gates.filtered_by(level) for level in range(3)] == [5, 7, 0]
    assert gates.filtered() == 12
    gates.close()


def test_gates_are_empty_without_filters() -> None:
    gates = Gates(None, cpus=4)
    gates.shut([1])
    assert gates.filtered() == 0
    gates.close()
