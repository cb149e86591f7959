# SPDX-License-Identifier: MIT
"""``kwalk report`` and ``kwalk diff`` as commands: what they write where, and what they refuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import profile, stack, written

import kwalk
from kwalk.cli.main import main
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.report.formats import FORMATS

Run = Callable[..., tuple[int, str, str]]
STACK = stack("ip_rcv", "a", "main")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.rec"
    path.write_bytes(written([[Count(STACK, 5)], [Count(STACK, 8)]]))
    return path


@pytest.mark.parametrize("name", ["a.rec", "link", "hard"])
@pytest.mark.parametrize("command", ["report", "diff", "lines", "from a pipe"])
def test_input_file_is_not_overwritten(
    recording: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    before = recording.read_bytes()
    other = recording.with_name("other")
    other.write_bytes(before)
    if name == "link":
        recording.with_name(name).symlink_to(recording)
    if name == "hard":
        os.link(recording, recording.with_name(name))
    words = {
        "report": ["report", str(recording)],
        "diff": ["diff", str(other), str(recording)],
        "lines": ["report", str(other), "--lines", str(recording)],
        "from a pipe": ["report", "-"],
    }[command]
    with recording.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, out, err = run(main, *words, "-o", str(recording.with_name(name)))
    assert (code, out) == (2, "")
    assert "is an input and would be overwritten\n  Give another file with -o." in err
    assert recording.read_bytes() == before


def test_old_report_is_kept_where_a_new_one_fails(recording: Path, run: Run) -> None:
    out = recording.with_name("out")
    out.write_text("an older report")
    (recording.with_name("bad.rec")).write_text("no recording")
    assert run(main, "report", str(recording.with_name("bad.rec")), "-o", str(out))[0] == 1
    assert out.read_text() == "an older report"
    assert run(main, "report", str(recording), "-o", str(out))[0] == 0
    assert out.read_text().startswith("    ip_rcv+0x0\n")
    assert sorted(os.listdir(recording.parent)) == ["a.rec", "bad.rec", "out"]


@pytest.mark.parametrize(
    ("form", "to_file", "told"),
    [("folded", False, True), ("folded", True, True), ("text", False, False), ("csv", True, True)],
)
def test_warnings_go_to_stderr_where_the_report_has_none_on_screen(
    tmp_path: Path, run: Run, form: str, to_file: bool, told: bool
) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(written([[Count(STACK, 5)], [Count(STACK, 8)]])[:-20])
    words = ["-o", str(tmp_path / "out")] if to_file else []
    code, _, err = run(main, "report", str(path), "--format", form, *words)
    assert code == 0
    assert ("kwalk: warning: the recording is not whole (" in err) == told
    assert ("kwalk: warning: 1 of 9 calls was lost: 1 recursion\n" in err) == told
    assert told or not err


@pytest.mark.parametrize("form", ["folded", "text"])
def test_complete_recording_prints_no_warning(tmp_path: Path, run: Run, form: str) -> None:
    path = tmp_path / "a.rec"
    profile(Count(STACK, 5), sampled_out=3).save(path)
    words = ["report", str(path), "--format", form]
    assert run(main, *words, "-o", str(tmp_path / "out")) == (0, "", "")
    assert run(main, *words)[2] == ""


@pytest.mark.parametrize("command", ["report", "diff"])
def test_dash_is_standard_output(
    recording: Path, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(recording.parent)
    words = [command, *["a.rec"] * (1 + (command == "diff"))]
    code, out, err = run(main, *words, "-o", "-")
    assert (code, out, err) == run(main, *words)
    assert out
    assert os.listdir() == ["a.rec"]
    with pytest.raises(SystemExit, match="2"):
        run(main, *words, "-o", "")


@pytest.mark.parametrize(
    ("words", "lack"),
    [
        ("--format text --callers", "--callers has no effect with --format text"),
        ("--format text --title x", "It works with tree, pprof"),
        ("--format tree --addr", "It works with text, json."),
        ("--format folded --min 1", "It works with tree."),
        ("--format svg --no-addr", "--addr has no effect with --format svg"),
    ],
)
def test_options_that_mean_nothing_for_a_format_are_refused(
    recording: Path, run: Run, words: str, lack: str
) -> None:
    code, out, err = run(main, "report", str(recording), *words.split())
    assert (code, out) == (2, "")
    assert lack in err


def test_folded_lines_can_begin_at_the_traced_function(recording: Path, run: Run) -> None:
    words = ["report", str(recording), "--format", "folded"]
    assert run(main, *words)[1] == "main;a;ip_rcv 8\n"
    assert run(main, *words, "--callers")[1] == "ip_rcv;a;main 8\n"


@pytest.mark.parametrize("form", ["folded", "text", "tree"])
def test_names_of_tasks_do_not_reach_the_terminal_as_they_are(
    tmp_path: Path, run: Run, form: str
) -> None:
    path = tmp_path / "a.rec"
    profile(Count(STACK, 5, Group("comm", 0, "\x1b[31mred"))).save(path)
    out = run(main, "report", str(path), "--format", form)[1]
    assert "?[31mred" in out
    assert "\x1b" not in out


def test_recordings_given_together_are_merged(recording: Path, run: Run) -> None:
    words = [str(recording), "--format", "folded"]
    assert run(main, "report", str(recording), *words)[1] == "main;a;ip_rcv 16\n"
    assert run(main, "report", *words, str(recording))[1] == "main;a;ip_rcv 16\n"
    code, out, err = run(main, "report", "-", "-")
    assert (code, out) == (2, "")
    assert "only one recording can come from standard input" in err


def test_stacks_of_several_boots_are_cut_alike(tmp_path: Path, run: Run) -> None:
    paths = [tmp_path / name for name in ("a.rec", "b.rec")]
    for boot, path in enumerate(paths):
        names = ["f", "g", "h", f"x{boot}"]
        frames = tuple(Frame(name, 0, "", (boot + 1 << 20) + len(name)) for name in names)
        addresses = tuple(frame.address for frame in frames)
        profile(Count(Stack(addresses, frames=frames), 5 + boot)).save(path)
    words = ["report", "--until", "h", "--format", "csv", "-o", "-"]
    rows = run(main, *words, *map(str, paths))[1].splitlines()
    assert [row.split(",")[2] for row in rows if row.startswith("stack,")] == ["11"]
    merged = kwalk.open(paths[0]) + kwalk.open(paths[1])
    assert [count.count for count in merged.narrow(until="h")] == [11]


def test_report_options_narrow_the_recording(tmp_path: Path, run: Run) -> None:
    path, other = tmp_path / "a.rec", stack("ip_rcv", "b", "main", truncated=True)
    redis, curl = Group("comm", 0, "redis"), Group("comm", 0, "curl")
    ticks = [
        [Count(STACK, 5, redis), Count(other, 1, redis)],
        [Count(STACK, 8, redis), Count(other, 2, redis), Count(STACK, 4, curl)],
    ]
    path.write_bytes(written(ticks))

    def report(*words: str) -> dict[str, Any]:
        code, out, err = run(main, "report", str(path), "--format", "json", *words)
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        ledger = found["ledger"]
        without = [*ledger["lost"].values(), *ledger["not_wanted"].values()]
        assert ledger["hits"] == ledger["recorded"] + sum(without) == 15
        assert ledger["recorded"] == sum(stack["count"] for stack in found["stacks"])
        assert ledger["recorded"] == sum(found["timeline"]["counts"])
        return found

    def stacks(found: dict[str, Any]) -> list[tuple[str, int, str | None]]:
        return [
            (" ".join(frame["name"] for frame in s["frames"]), s["count"], s.get("comm"))
            for s in found["stacks"]
        ]

    assert stacks(report("--from-caller", "^a$")) == [
        ("ip_rcv a main", 4, "curl"), ("ip_rcv a main", 8, "redis")
    ]  # fmt: skip
    whole = report("--until", "[ab]", "--no-groups")
    assert stacks(whole) == [("ip_rcv b", 2, None), ("ip_rcv a", 12, None)]
    assert whole["ledger"]["truncated"] == 0  # what is left out on purpose is not cut off
    one = report("--group", "curl")
    assert stacks(one) == [("ip_rcv a main", 4, "curl")]
    assert one["ledger"]["lost"] == {"recursion": 1}
    assert one["ledger"]["not_wanted"] == {"other_groups": 10}
    assert one["timeline"]["counts"] == [0, 4]
    assert report("--no-groups")["timeline"]["counts"] == [6, 8]
    assert report("--from-caller", "nobody")["ledger"]["not_wanted"]["other_callers"] == 14
    assert report()["ledger"]["truncated"] == 2
    second = report("--seconds", "1-")
    assert stacks(second) == [
        ("ip_rcv b main", 1, "redis"), ("ip_rcv a main", 3, "redis"), ("ip_rcv a main", 4, "curl")
    ]  # fmt: skip
    assert second["ledger"]["lost"] == {"recursion": 1}
    assert second["ledger"]["not_wanted"] == {"other_seconds": 6}
    assert second["timeline"] == {"ends": [1.0], "counts": [8]}
    assert report("--seconds", "0-1")["timeline"]["counts"] == [6]
    assert report("--seconds", "0.6-9", "--group", "curl")["ledger"]["recorded"] == 4
    assert second["facts"]["seconds"] == "1.0 to 2.0 of 2.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seconds 2-", "it ends after 2.0 seconds"),
        ("--seconds 5-9", "it ends after 2.0 seconds"),
        ("--seconds 0.6-1.4", "seconds 0.0 to 1.0 are a single interval"),
    ],
)
def test_seconds_that_were_not_recorded(
    recording: Path, run: Run, words: str, message: str
) -> None:
    code, out, err = run(main, "report", str(recording), *words.split())
    assert (code, out) == (2, "")
    assert message in err


def test_seconds_of_what_has_no_timeline(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.rec"
    profile(Count(STACK, 5)).save(path)
    code, _, err = run(main, "report", str(path), "--seconds", "0-1")
    assert code == 2
    assert "a.rec: the recording has no timeline" in err


FORMS_WITH_ADDRESSES = {"json", "pprof", "perfetto"}


@pytest.mark.skipif(os.geteuid() != 0, reason="what others make is as their umask has it")
@pytest.mark.parametrize("before", [None, 0o644])
@pytest.mark.parametrize("form", [*FORMATS, "text --addr", "diff json", "diff text"])
def test_report_with_addresses_is_for_nobody_else_to_read(
    recording: Path, run: Run, form: str, before: int | None
) -> None:
    out = recording.with_name("out")
    if before:
        out.touch(before)
    words = ["report", str(recording)]
    if form.startswith("diff "):
        words = ["diff", str(recording), str(recording)]
        form = form.removeprefix("diff ")
    old = os.umask(0o022)
    try:
        assert run(main, *words, "-o", str(out), "--format", *form.split())[0] == 0
    finally:
        os.umask(old)
    private = form in FORMS_WITH_ADDRESSES or "--addr" in form
    assert out.stat().st_mode & 0o777 == (0o600 if private else 0o644)


@pytest.mark.skipif(os.geteuid() != 0, reason="what others make is as their umask has it")
@pytest.mark.parametrize("form", [*FORMATS])
def test_report_is_private_where_an_address_stands_for_a_name(
    tmp_path: Path, run: Run, form: str
) -> None:
    path, out = tmp_path / "a.rec", tmp_path / "out"
    profile(Count(stack("ip_rcv", "", "main"), 5)).save(path)
    assert run(main, "report", str(path), "-o", str(out), "--format", form)[0] == 0
    assert out.stat().st_mode & 0o777 == 0o600


def test_report_of_another_user_is_as_its_umask_has_it(
    recording: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    out = recording.with_name("out")
    old = os.umask(0o022)
    try:
        assert run(main, "report", str(recording), "-o", str(out), "--format", "json")[0] == 0
    finally:
        os.umask(old)
    assert out.stat().st_mode & 0o777 == 0o644
