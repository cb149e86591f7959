# SPDX-License-Identifier: MIT
"""Files that are replaced: all at once, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kwalk.errors import OutputError
from kwalk.replacing import Replacement


def write(path: Path | str, *pieces: str | bytes) -> None:
    with Replacement(path) as file:
        for piece in pieces:
            file.write(piece)
        file.finish()


def give_up(path: Path) -> None:
    with Replacement(path) as file:
        file.write("half of it")


def test_text_and_bytes_are_written_in_turn(tmp_path: Path) -> None:
    write(tmp_path / "a", "one\n", b"\xff\n", "b\udcff\n")
    assert (tmp_path / "a").read_bytes() == b"one\n\xff\nb?\n"
    assert os.listdir(tmp_path) == ["a"]


def test_until_it_is_finished_there_is_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with Replacement(path) as file:
        file.write("new")
        assert path.read_text() == "old"
        file.finish()
        assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    give_up(tmp_path / "a")
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").write_text("old")
    give_up(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_link_stays_one_and_the_file_keeps_its_mode(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "a"
    link.symlink_to(path)
    write(link, "new")
    path.chmod(0o604)
    write(link, "newer")
    assert link.is_symlink()
    assert path.read_text() == "newer"
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write(fifo, "x")
    assert os.read(fd, 9) == b"x"
    give_up(fifo)
    os.close(fd)
    assert fifo.is_fifo()
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_file_may_be_where_no_other_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refused(path: str, flags: int, mode: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    path = tmp_path / "a"
    with pytest.raises(OutputError, match=f"{path} cannot be written: Permission denied"):
        write(path, "x")
    assert os.listdir(tmp_path) == []
    path.write_text("something long")
    write(path, "short")
    assert path.read_text() == "short"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none/a", "No such file or directory"),
        ("", "Is a directory"),
        ("a/", "No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_at_once(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(OutputError, match=f"{tmp_path}/{name} cannot be written: {why}"):
        Replacement(f"{tmp_path}/{name}").__enter__()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def full(old: str, new: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=f"{path} cannot be written: No space left on device"):
        write(path, "new")
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_text() == "old"
