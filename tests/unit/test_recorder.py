# SPDX-License-Identifier: MIT
"""The file of a recording: what was there before is touched only when tracing has begun."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from recorded import FACTS, stack, summary

from kwalk.api.profile import open as load
from kwalk.cli.recorder import Recorder
from kwalk.errors import OutputError
from kwalk.model.stack import Count

COUNTS = [Count(stack("ip_rcv", "a", "main"), 5)]


def record(path: Path) -> None:
    with Recorder(str(path)) as recorder:
        recorder.begin(dict(FACTS), summary([]))
        recorder.end(COUNTS, 1.0, summary(COUNTS))


def fail(path: Path) -> None:
    """As where tracing cannot begin."""
    with pytest.raises(KeyboardInterrupt), Recorder(str(path)):
        raise KeyboardInterrupt


def test_failed_recording_leaves_no_file(tmp_path: Path) -> None:
    fail(tmp_path / "a.rec")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("contents", [b"", b"an old recording"])
def test_failed_recording_keeps_the_old_file(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(contents)
    fail(path)
    assert path.read_bytes() == contents


def test_failed_recording_keeps_a_link_and_its_file(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "a.rec"
    link.symlink_to(path)
    path.touch()
    fail(link)
    assert link.is_symlink()
    assert path.exists()


def test_dangling_link_gets_a_file_only_if_something_is_recorded(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "a.rec"
    link.symlink_to(path)
    fail(link)
    assert os.listdir(tmp_path) == ["link"]
    record(link)
    assert link.is_symlink()
    assert len(load(path)) == 1


def test_failed_recording_keeps_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fail(fifo)
    os.close(fd)
    assert fifo.is_fifo()


def test_file_that_replaced_the_recording_is_kept(tmp_path: Path) -> None:
    path, other = tmp_path / "a.rec", tmp_path / "other"
    other.touch()
    with Recorder(str(path)):
        os.replace(other, path)
    assert path.exists()


def test_old_contents_are_gone_once_recording_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"x" * 100_000)
    record(path)
    assert [count.count for count in load(path)] == [5]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["link", "write"])
def test_full_disk_is_told_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """As the recording begins, then as it goes on: what is whole stays."""
    path = tmp_path / "a.rec"
    with Recorder(str(path)) as recorder, monkeypatch.context() as patch:
        if call == "write":
            recorder.begin(dict(FACTS), summary([]))
        patch.setattr(os, call, full)
        go_on: Any = recorder.tick if call == "write" else recorder.begin
        arguments: Any = (COUNTS, 1.0) if call == "write" else (dict(FACTS),)
        with pytest.raises(OutputError, match=f"{path} cannot be written: No space left"):
            go_on(*arguments, summary(COUNTS))
    assert path.exists() == (call == "write")
    assert os.listdir(tmp_path) == ["a.rec"] * path.exists()


def test_recording_is_in_place_from_its_beginning(tmp_path: Path) -> None:
    """All at once: whoever opened what was there before goes on to read that."""
    path = tmp_path / "a.rec"
    path.write_bytes(b"old")
    with path.open("rb") as old, Recorder(str(path)) as recorder:
        assert path.read_bytes() == b"old"
        recorder.begin(dict(FACTS), summary([]))
        assert len(load(path)) == 0
        recorder.tick(COUNTS, 1.0, summary(COUNTS))
        assert len(load(path)) == 1
        assert recorder.size == path.stat().st_size
        assert old.read() == b"old"


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(("before", "after"), [(None, 0o600), (0o644, 0o600), (0o200, 0o200)])
def test_recording_is_for_nobody_else_to_read(
    tmp_path: Path, before: int | None, after: int, link: bool
) -> None:
    path = tmp_path / "a.rec"
    if before:
        path.touch()
        path.chmod(before)
    if link:
        (tmp_path / "link").symlink_to(path)
    mask = os.umask(0)
    try:
        record(tmp_path / "link" if link else path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o7777 == after


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        record(tmp_path)
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        Recorder(f"{tmp_path}/b/").__enter__()
    assert os.listdir(tmp_path) == []
