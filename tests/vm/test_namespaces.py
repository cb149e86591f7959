# SPDX-License-Identifier: MIT
"""kwalk inside PID and cgroup namespaces: PIDs and paths are the namespaces' own."""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import call, only_on

import forked
from kwalk.kernel.cgroups import hierarchy

# include/uapi/linux/sched.h, include/uapi/linux/mount.h
NEWNS, NEWCGROUP, NEWPID = 0x00020000, 0x02000000, 0x20000000
PRIVATE = 0x4000 | 0x40000
DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, folder: Path) -> None:
    assert _LIBC.mount(b"none", b"/", None, PRIVATE, None) == 0
    if kind == "cgroup2":  # its mounts share one superblock, none on top of another
        assert _LIBC.umount2(os.fsencode(folder), DETACH) == 0
    assert _LIBC.mount(kind.encode(), os.fsencode(folder), kind.encode(), 0, None) == 0


def inside(flags: int, body: Callable[[], Any], before: Callable[[], object] = lambda: None) -> Any:
    """Run a function in new namespaces, as PID 1 if one is a PID namespace."""
    with tempfile.TemporaryFile("w+") as told:

        def first() -> None:
            told.write(json.dumps(body()))
            told.flush()

        def outer() -> int:
            before()
            assert _LIBC.unshare(flags) == 0
            return os.waitstatus_to_exitcode(os.waitpid(forked.fork(first), 0)[1])

        assert os.waitpid(forked.fork(outer), 0)[1] == 0
        told.seek(0)
        return json.load(told)


def reader() -> int:
    """Start a process that reads in two threads, fifty times a second each; return its PID."""
    heard, said = os.pipe()

    def read() -> None:
        with open("/dev/zero", "rb", buffering=0) as file:
            while True:
                file.read(1)
                time.sleep(0.02)

    def main() -> None:
        Path("/proc/self/comm").write_text("kwread")
        threading.Thread(target=read, daemon=True).start()
        os.write(said, b".")
        read()

    pid = forked.fork(main)
    os.read(heard, 1)
    return pid


def make_next(number: int) -> None:
    """Make the next process of this PID namespace get a given PID."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if last.exists():
        last.write_text(str(number - 1))
        return
    while (pid := forked.fork(lambda: None)) < number - 1:
        os.waitpid(pid, 0)


@pytest.fixture
def outside() -> Iterator[int]:
    """Run a reader in the initial namespace."""
    pid = reader()
    yield pid
    forked.kill(pid)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def in_pid_namespace(number: int, traced: Callable[[int, int], dict[str, Any]]) -> dict[str, Any]:
    """Run kwalk in a PID namespace with a reader of this PID, and another one a namespace below.

    :param traced: Function of the readers' PIDs there; its result is returned with them.
    """

    def body() -> dict[str, Any]:
        mount("proc", Path("/proc"))
        make_next(number)
        pid = reader()
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))

        def below() -> int:
            assert _LIBC.unshare(NEWPID) == 0
            os.write(said, b"%d" % reader())
            return 0

        heard, said = os.pipe()
        forked.fork(below)
        deeper = int(os.read(heard, 16))
        return traced(pid, deeper) | {"pid": pid, "tids": tids, "deeper": deeper}

    return dict(inside(NEWPID | NEWNS, body))


def events(found: tuple[int, str, str]) -> list[dict[str, Any]]:
    code, out, err = found
    assert code == 0, err
    return objects(out)[:-1]


STREAM = "kwalk", "stream", "vfs_read", "--format", "json"
COUNT = "kwalk", "count", "vfs_read", "--per", "pid", "--duration", "1"


def test_numbers_in_a_pid_namespace_are_those_of_its_ps(outside: int) -> None:
    """The reader outside has the number of the one inside, and none that is seen inside."""

    def traced(pid: int, below: int) -> dict[str, Any]:
        command = "kwalk", "count", "vfs_read", "--per", "pid", "--follow", "--format", "json"
        return {
            "stream": call(*STREAM, "--pid", str(pid), "--count", "20"),
            "count": call(*COUNT, "--format", "json"),
            "command": call(*command, "--", "sh", "-c", "cat /dev/null; :"),
        }

    found = in_pid_namespace(outside, traced)
    pid = found["pid"]
    assert pid == outside
    assert len(found["tids"]) == 2
    streamed = {(event["pid"], event["tid"]) for event in events(found["stream"])}
    assert streamed == {(pid, tid) for tid in found["tids"]}
    assert objects(found["stream"][1])[-1]["ledger"]["recorded"] == 20

    whole = objects(found["count"][1])[-1]
    groups = {(stack["comm"], stack["pid"]) for stack in whole["stacks"]}
    assert {("kwread", pid), ("kwread", None), ("kwread", found["deeper"])} <= groups
    assert whole["ledger"]["balance"] == 0
    pids = {stack["pid"] for stack in objects(found["command"][1])[-1]["stacks"]}
    assert len(pids) == 2, "the command, and what it starts"
    assert all(outside < number < outside + 100 for number in pids)


@only_on("debian-13")
def test_each_way_shows_the_numbers_of_a_pid_namespace(outside: int) -> None:
    def traced(pid: int, below: int) -> dict[str, Any]:
        top = "kwalk", "top", "vfs_read", "--per", "pid", "--duration", "1", "--interval", "0.3"
        return {
            "tid": call(*STREAM, "--tid", str(pid), "--count", "10"),
            "below": call(*STREAM, "--pid", str(below), "--count", "10"),
            "all": call(*STREAM, "--duration", "1"),
            "nobody": call("kwalk", "count", "vfs_read", "--pid", str(pid + 5000)),
            "helper": call(*COUNT, "--method", "helper"),
            "top": call(*top),
        }

    found = in_pid_namespace(outside, traced)
    pid = found["pid"]
    assert {(event["pid"], event["tid"]) for event in events(found["tid"])} == {(pid, pid)}
    assert {event["pid"] for event in events(found["below"])} == {found["deeper"]}
    who = {(event["comm"], event["pid"]) for event in events(found["all"])}
    assert {("kwread", pid), ("kwread", None)} <= who
    assert found["nobody"][0] == 2
    for name in ("helper", "top"):
        assert f"kwread ({pid})" in found[name][1], found[name]
        assert "kwread (-)" in found[name][1], found[name]


@only_on("debian-13")
def test_proc_of_another_namespace_is_refused_where_pids_matter() -> None:
    def body() -> list[Any]:
        count = "kwalk", "count", "vfs_read", "--duration", "0.3"
        return [
            call(*count, "--pid", "1"),
            call(*count, "--tid", "1"),
            call(*count, "--per", "pid"),
            call("kwalk", "stream", "vfs_read", "--count", "1"),
            call("kwalk", "count", "vfs_read", "--format", "json", "--", "cat", "/dev/null"),
        ]

    *refused, command = inside(NEWPID, body)
    for code, out, err in refused:
        assert (code, out) == (2, "")
        assert "/proc belongs to another PID namespace than kwalk" in err
        assert "mount -t proc" in err
    assert objects(command[1])[-1]["ledger"]["recorded"] > 0


@only_on("debian-13")
def test_paths_in_a_cgroup_namespace_are_those_of_its_mount() -> None:
    """Its root is two levels down; one cgroup is below that, one beside kwalk's own."""
    top = hierarchy()
    assert top
    outer = top.top / "kwns" / "root"
    for name in ("inner", "other"):
        (outer / name).mkdir(parents=True)

    def body() -> dict[str, Any]:
        count = "kwalk", "count", "vfs_read", "--per", "cgroup", "--format", "json"
        moves = f"echo $$ > {top.top}/inner/cgroup.procs; exec cat /dev/null"
        above = call(*count, "--cgroup", "kwns/root", "--", "cat", "/dev/null")
        mount("cgroup2", top.top)
        return {
            "above": above,
            "inner": call(*count, "--cgroup", "inner", "--", "sh", "-c", moves),
            "other": call(*count, "--cgroup", "other", "--", "cat", "/dev/null"),
            "all": call(*count, "--cgroup", str(top.top), "--", "cat", "/dev/null"),
        }

    def enter() -> None:
        (outer / "cgroup.procs").write_text(str(os.getpid()))

    try:
        found = inside(NEWCGROUP | NEWNS, body, enter)
    finally:
        for folder in (outer / "inner", outer / "other", outer, outer.parent):
            folder.rmdir()
    above, inner, other, everything = (
        objects(found[name][1])[-1] for name in ("above", "inner", "other", "all")
    )
    assert {stack["cgroup"] for stack in above["stacks"]} == {"/kwns/root"}, "the outer mount"
    assert {stack["cgroup"] for stack in inner["stacks"]} == {"/inner"}
    assert inner["ledger"]["recorded"] > 0
    assert other["ledger"]["recorded"] == 0
    assert other["ledger"]["not_wanted"]["filtered"] > 0
    assert {stack["cgroup"] for stack in everything["stacks"]} == {"/"}
