# SPDX-License-Identifier: MIT
"""``kwalk report`` and ``kwalk diff`` as commands: what they write where, and what they refuse."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import profile, stack, written

from kwalk.cli import main
from kwalk.stack import Count

Run = Callable[..., tuple[int, str, str]]
STACK = stack("ip_rcv", "a", "main")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.rec"
    path.write_bytes(written([[Count(STACK, 5)], [Count(STACK, 8)]]))
    return path


@pytest.mark.parametrize("name", ["a.rec", "link", "hard"])
@pytest.mark.parametrize("command", ["report", "diff", "lines", "from a pipe"])
def test_what_is_read_is_not_written_over(
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
    assert "is read and would be written over\n  Give another file with -o." in err
    assert recording.read_bytes() == before


def test_an_older_report_stays_where_a_new_one_cannot_be_made(recording: Path, run: Run) -> None:
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
def test_what_is_missing_is_told_where_the_report_does_not_or_is_out_of_sight(
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
def test_nothing_is_told_where_nothing_is_missing(tmp_path: Path, run: Run, form: str) -> None:
    path = tmp_path / "a.rec"
    profile(Count(STACK, 5), sampled_out=3).save(path)
    words = ["report", str(path), "--format", form]
    assert run(main, *words, "-o", str(tmp_path / "out")) == (0, "", "")
    assert run(main, *words)[2] == ""
