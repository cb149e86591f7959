# SPDX-License-Identifier: MIT
"""Namespaces of this process, and what they make of the user's numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from converted import report
from recorded import reread, stack, written

from kwalk.abi import HERE, NO_NUMBER, NUMBERLESS, NUMBERLESS_NAME, TASK, Output, Per
from kwalk.decode.groups import Groups
from kwalk.decode.records import Record
from kwalk.errors import UsageError
from kwalk.kernel import cgroups, namespaces
from kwalk.model.stack import Count, Group
from kwalk.options.filters import Cgroup, Filters
from kwalk.options.probe import PidNamespace, ProbeOptions
from kwalk.probe import translate
from kwalk.report.formats import FORMATS


@pytest.mark.parametrize(
    ("status", "same"),
    [
        ("Name:\tkwalk\nNSpid:\t7\nNSpgid:\t7\n", True),
        ("Name:\tkwalk\nNSpid:\t4711\t7\n", False),
        ("Name:\tkwalk\n", True),  # a kernel without PID namespaces
        (None, False),  # /proc of a namespace that this process is not in
    ],
)
def test_proc_of_another_pid_namespace_is_known(
    status: str | None, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "SELF", tmp_path / "self")
    if status is not None:
        (tmp_path / "self").mkdir()
        (tmp_path / "self/status").write_text(status)
    assert namespaces.same_proc() == same
    assert namespaces.is_nested("pid") == (status is None)


def nested(monkeypatch: pytest.MonkeyPatch, *kinds: str, same: bool = True) -> None:
    asked = translate.Here(PidNamespace(0xFFFF, 2), 5, {3: 1003, 4: 1004}, {3: 1003})
    monkeypatch.setattr(translate, "is_nested", lambda kind: kind in kinds)
    monkeypatch.setattr(translate, "same_proc", lambda: same)
    monkeypatch.setattr(translate, "_ask", lambda tasks: asked)
    monkeypatch.setattr(cgroups, "own", lambda: "/../x")


def test_numbers_of_tasks_become_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    nested(monkeypatch, "pid")
    options = ProbeOptions(filters=Filters(pids=(3,), tids=(4, 3), cgroups=(Cgroup(8, 1),)))
    found = translate.translate(options)
    assert (found.filters.pids, found.filters.tids) == ((1003,), (1004, 1003))
    assert found.filters.cgroups == (Cgroup(8, 1),)
    assert found.pidns == PidNamespace(0xFFFF, 2)
    with pytest.raises(UsageError, match="there is no process 4 in this PID namespace"):
        translate.translate(ProbeOptions(filters=Filters(pids=(4,))))


def test_levels_of_cgroups_count_from_the_kernels_root(monkeypatch: pytest.MonkeyPatch) -> None:
    nested(monkeypatch, "cgroup")
    found = translate.translate(ProbeOptions(filters=Filters(cgroups=(Cgroup(8, 1, "/a"),))))
    # Its own cgroup, five down, is level with the namespace's root.
    assert found.filters.cgroups == (Cgroup(8, 6, "/a"),)
    assert found.pidns is None
    monkeypatch.setattr(cgroups, "own", lambda: "/x/y")  # the namespace's root is three down
    options = ProbeOptions(filters=Filters(cgroups=(Cgroup(8, 1),)))
    assert translate.translate(options).filters.cgroups == (Cgroup(8, 4),)


def test_tasks_of_the_kernel_are_processes_where_they_lead_their_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [(3, 1003, 1003), (4, 1004, 1003), (5, 1005, 1005)]
    rows = b"".join(TASK.pack({"number": n, "pid": p, "tgid": t}) for n, p, t in tasks)
    here = HERE.pack({"pidns": 0xFFFF, "pidns_level": 2, "cgroup_level": 5})

    class Loaded:
        """The programs that are run once."""

        def __init__(self, image: bytes) -> None:
            self.chosen: list[str] = []

        def __enter__(self) -> Loaded:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def set_autoload(self, programs: dict[str, None]) -> None:
            self.chosen += programs

        def map(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(set_autocreate=lambda create: None)

        def load(self) -> None:
            pass

        def run(self, program: str, data: bytes) -> tuple[int, bytes]:
            return 0, here

        def iterate(self, program: str) -> bytes:
            assert program in self.chosen
            return rows

    monkeypatch.setattr(translate, "Object", Loaded)
    found = translate._ask(tasks=True)
    assert found.threads == {3: 1003, 4: 1004, 5: 1005}
    assert found.processes == {3: 1003, 5: 1005}
    assert (found.pidns, found.cgroup_level) == (PidNamespace(0xFFFF, 2), 5)


@pytest.mark.parametrize("options", [ProbeOptions(output=Output.EVENT), ProbeOptions(per=Per.PID)])
def test_numbers_that_ps_does_not_have_are_not_shown(
    options: ProbeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested(monkeypatch, "pid", same=False)
    with pytest.raises(UsageError, match="PIDs would differ from the output of ps"):
        translate.translate(options)
    counted = ProbeOptions(output=Output.COUNT, filters=Filters(pids=(3,)))
    assert translate.translate(counted).filters.pids == (1003,)


def test_outside_of_namespaces_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nested(monkeypatch)
    options = ProbeOptions(filters=Filters(pids=(3,), cgroups=(Cgroup(8, 1),)))
    assert translate.translate(options) is options


def test_task_outside_the_namespace_has_no_number() -> None:
    assert Record(0, 0, 0, 0, 1, NO_NUMBER, NO_NUMBER, b"swapper/1").who()[1:3] == (None, None)
    assert Record(0, 0, 0, 0, 1, 0, 0, b"swapper/1").who()[1:3] == (0, 0)
    value = bytearray(b"a-name-of-15-ch\0")
    value[8:] = (int.from_bytes(value[8:], "little") | NUMBERLESS_NAME).to_bytes(8, "little")
    group = Groups(Per.PID).group(NUMBERLESS | 7, bytes(value))
    assert group == Group("pid", None, "a-name-of-15-ch")
    assert str(group) == "a-name-of-15-ch (-)"
    assert group.as_data() == {"pid": None, "comm": "a-name-of-15-ch"}


@pytest.mark.parametrize("form", FORMATS)
def test_formats_all_take_a_task_without_a_number(form: str) -> None:
    nobody, somebody = Group("pid", None, "redis"), Group("pid", 0, "redis")
    counts = [Count(stack("ip_rcv", "a"), 1, nobody), Count(stack("ip_rcv", "a"), 2, somebody)]
    known = reread(written([counts]))
    assert {count.group: count.count for count in known} == {nobody: 1, somebody: 2}
    text = report(form, known)
    if form == "json":
        assert [row["pid"] for row in json.loads(text)["stacks"]] == [None, 0]
    if form == "csv":
        rows = [row for row in csv.DictReader(text.decode().splitlines()) if row["kind"] == "stack"]
        assert [(row["pid"], row["comm"]) for row in rows] == [("0", "redis"), ("", "redis")]
    if form in ("text", "folded", "tree"):
        assert b"redis (-)" in text


def test_covered_cgroup_mount_is_not_seen(tmp_path: Path) -> None:
    """Whatever the order: a container's own mount lies over the one that it was born with."""
    lines = [
        "31 23 0:28 / /sys rw - sysfs sysfs rw",
        "32 31 0:29 /../.. /sys/fs/cgroup rw shared:9 - cgroup2 none rw",
        "40 32 0:29 / /sys/fs/cgroup rw - cgroup2 none rw",
        "23 1 8:1 / / rw - ext4 /dev/sda rw",
    ]
    mounts = tmp_path / "mountinfo"
    for text in (lines, lines[::-1]):
        mounts.write_text("\n".join(text) + "\n")
        assert cgroups.hierarchy(mounts) == cgroups.Hierarchy(Path("/sys/fs/cgroup"), 0)
    mounts.write_text("\n".join([*lines, "41 40 0:30 / /sys/fs/cgroup ro - tmpfs none ro"]) + "\n")
    assert cgroups.hierarchy(mounts) is None


@pytest.mark.parametrize("kind", ["pid", "cgroup"])
def test_initial_namespace_is_known_by_its_inode(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ns").mkdir()
    number = tmp_path / "ns" / kind
    number.touch()
    monkeypatch.setattr(namespaces, "SELF", tmp_path)
    assert namespaces.is_nested(kind)
    monkeypatch.setitem(namespaces.FIRST, kind, number.stat().st_ino)
    assert not namespaces.is_nested(kind)
