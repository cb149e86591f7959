# SPDX-License-Identifier: MIT
"""kwalk inside PID and cgroup namespaces: numbers and paths are the user's own."""

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
from conftest import call

import forked
from kwalk.kernel.cgroups import hierarchy

# include/uapi/linux/sched.h, include/uapi/linux/mount.h
NEWNS, NEWCGROUP, NEWPID = 0x00020000, 0x02000000, 0x20000000
PRIVATE = 0x4000 | 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, folder: Path) -> None:
    assert _LIBC.mount(b"none", b"/", None, PRIVATE, None) == 0
    assert _LIBC.mount(kind.encode(), os.fsencode(folder), kind.encode(), 0, None) == 0


def inside(flags: int, body: Callable[[], Any], before: Callable[[], object] = lambda: None) -> Any:
    """Run a function in new namespaces, as pid 1 where one of them is of that kind."""
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
    """Start a process that reads by two threads, fifty times a second each; return its pid."""
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
    """Have the next process of this PID namespace get a number."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if last.exists():
        last.write_text(str(number - 1))
        return
    while (pid := forked.fork(lambda: None)) < number - 1:
        os.waitpid(pid, 0)


@pytest.fixture
def outside() -> Iterator[int]:
    """A reader in the first namespace."""
    pid = reader()
    yield pid
    forked.kill(pid)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_numbers_in_a_pid_namespace_are_those_of_its_ps(outside: int) -> None:
    """The reader outside has the number of the one inside, and none that is seen inside."""
    timed = "--duration", "2"

    def body() -> dict[str, Any]:
        mount("proc", Path("/proc"))
        make_next(outside)
        pid = reader()
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))

        def below() -> int:
            assert _LIBC.unshare(NEWPID) == 0
            os.write(said, b"%d" % reader())
            return 0

        heard, said = os.pipe()
        forked.fork(below)
        deeper = int(os.read(heard, 16))
        stream = "kwalk", "stream", "vfs_read", "--format", "json", *timed
        count = "kwalk", "count", "vfs_read", "--per", "pid"
        found = {
            "by pid": call(*stream, "--pid", str(pid)),
            "by tid": call(*stream, "--tid", str(tids[1])),
            "deeper": call(*stream, "--pid", str(deeper)),
            "all": call(*stream),
            "nobody": call("kwalk", "count", "vfs_read", "--pid", str(outside + 5000)),
            "count": call(*count, *timed, "--format", "json"),
            "helper": call(*count, *timed, "--method", "helper"),
            "command": call(
                *count, "--follow", "--format", "json", "--", "sh", "-c", "cat /dev/null; :"
            ),
            "top": call("kwalk", "top", "vfs_read", "--per", "pid", *timed, "--interval", "0.3"),
        }
        return found | {"pid": pid, "tids": tids, "deeper pid": deeper}

    found = inside(NEWPID | NEWNS, body)
    pid, tids = found["pid"], found["tids"]
    assert pid == outside
    assert len(tids) == 2

    def events(name: str) -> list[dict[str, Any]]:
        code, out, err = found[name]
        assert code == 0, err
        return objects(out)[:-1]

    for name, numbers in (("by pid", tids), ("by tid", tids[1:])):
        assert {(event["pid"], event["tid"]) for event in events(name)} == {
            (pid, tid) for tid in numbers
        }, name
    assert {event["pid"] for event in events("deeper")} == {found["deeper pid"]}
    who = {(event["comm"], event["pid"]) for event in events("all")}
    assert {("kwread", pid), ("kwread", None)} <= who
    assert objects(found["by pid"][1])[-1]["ledger"]["hits"] > 20, "others' calls were seen"
    assert found["nobody"][0] == 2

    whole = objects(found["count"][1])[-1]
    groups = {(stack["comm"], stack["pid"]) for stack in whole["stacks"]}
    assert {("kwread", pid), ("kwread", None), ("kwread", found["deeper pid"])} <= groups
    assert whole["ledger"]["balance"] == 0
    for name in ("helper", "top"):
        assert f"kwread ({pid})" in found[name][1], found[name]
        assert "kwread (-)" in found[name][1], found[name]
    stacks = objects(found["command"][1])[-1]["stacks"]
    pids = {stack["pid"] for stack in stacks}
    assert len(pids) == 2, "the command, and what it starts"
    assert all(outside < number < outside + 100 for number in pids)


def test_another_namespaces_proc_is_refused_where_numbers_matter() -> None:
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


def test_paths_in_a_cgroup_namespace_are_those_of_its_mount() -> None:
    """Its root is two levels down; one cgroup is below that, one beside kwalk's own."""
    top = hierarchy()
    assert top
    outer = top.top / "kwns" / "root"
    for name in ("inner", "other"):
        (outer / name).mkdir(parents=True)

    def body() -> dict[str, Any]:
        mount("cgroup2", top.top)
        count = "kwalk", "count", "vfs_read", "--per", "cgroup", "--format", "json"
        moves = f"echo $$ > {top.top}/inner/cgroup.procs; cat /dev/null"
        return {
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
    inner, other, everything = (objects(found[name][1])[-1] for name in ("inner", "other", "all"))
    assert {stack["cgroup"] for stack in inner["stacks"]} == {"/inner"}
    assert inner["ledger"]["recorded"] > 0
    assert other["ledger"]["recorded"] == 0
    assert other["ledger"]["not_wanted"]["filtered"] > 0
    assert {stack["cgroup"] for stack in everything["stacks"]} == {"/"}
