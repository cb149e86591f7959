# SPDX-License-Identifier: MIT
"""Files that are replaced: all at once, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import forked
from allowed import NOBODY, as_user
from kwalk.errors import OutputError
from kwalk.support.atomic_file import Replacement

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


def write(path: Path | str, *pieces: str | bytes, private: bool = False) -> None:
    with Replacement(path, private) as file:
        for piece in pieces:
            file.write(piece)
        file.finish()


def give_up(path: Path) -> None:
    with Replacement(path) as file:
        file.write("half of it")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may write."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "open")
        path.mkdir()
        Path(name).chmod(0o755)
        path.chmod(0o777)
        yield path


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


def test_abandoned_write_leaves_nothing(tmp_path: Path) -> None:
    give_up(tmp_path / "a")
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").write_text("old")
    give_up(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_link_stays_one_and_its_file_is_overwritten(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "a"
    link.symlink_to(path)
    write(link, "new")
    path.chmod(0o604)
    made = path.stat()
    with Replacement(link) as file:
        file.write("other")
        assert path.read_text() == "new"
        file.finish()
    assert link.is_symlink()
    assert path.read_text() == "other"
    assert (path.stat().st_ino, path.stat().st_mode) == (made.st_ino, made.st_mode)
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


@pytest.mark.parametrize("private", [False, True])
def test_replaced_file_keeps_its_mode_as_far_as_is_wanted(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "a"
    for mode in (0o640, 0o600, 0o755, 0o666):
        path.touch()
        path.chmod(mode)
        before = path.stat().st_ino
        write(path, "new", private=private)
        assert path.stat().st_mode & 0o7777 == (mode & 0o600 if private else mode)
        assert path.stat().st_ino != before


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0, 0o666), (0o177, 0o600)])
def test_new_file_has_the_mode_that_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "a"
    old = os.umask(mask)
    try:
        write(path, "new")
        assert path.stat().st_mode & 0o7777 == mode
        write(tmp_path / "b", "new", private=True)
        assert (tmp_path / "b").stat().st_mode & 0o7777 == 0o600 & ~mask
    finally:
        os.umask(old)


@pytest.mark.parametrize("before", [False, True])
def test_file_can_be_made_private_late(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "a"
    if before:
        path.touch(0o644)
    with Replacement(path) as file:
        file.make_private()
        file.write("secret")
        file.finish()
    assert path.stat().st_mode & 0o777 == 0o600


@as_root
def test_replaced_file_keeps_its_group(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch(0o640)
    os.chown(path, 0, 12345)
    before = path.stat().st_ino
    write(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 12345, 0o640)
    assert found.st_ino != before


@as_root
def test_file_of_a_foreign_group_is_overwritten(open_folder: Path) -> None:
    """Its owner is in no position to give another file that group."""
    path = open_folder / "a"
    path.touch(0o640)
    os.chown(path, NOBODY, 12345)
    before = path.stat()
    as_user(NOBODY, lambda: write(path, "new"))
    found = path.stat()
    assert path.read_text() == "new"
    assert (found.st_ino, found.st_gid, found.st_mode) == (
        before.st_ino, 12345, before.st_mode,
    )  # fmt: skip


def test_file_with_an_acl_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch(0o640)
    rows = [(1, 6, -1), (2, 4, 65533), (4, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *row) for row in rows)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no ACL can be made here: {error.strerror}")
    before = path.stat()
    write(path, "new")
    assert path.read_text() == "new"
    assert os.getxattr(path, "system.posix_acl_access") == acl
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)


def test_pipe_is_written_in_place(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write(fifo, "x")
    assert os.read(fd, 9) == b"x"
    give_up(fifo)
    os.close(fd)
    assert fifo.is_fifo()
    assert os.listdir(tmp_path) == ["fifo"]


@as_root
def test_file_may_be_where_no_other_can_be_made(open_folder: Path) -> None:
    path = open_folder / "a"

    def attempt() -> str:
        try:
            write(path, "short")
        except OutputError as error:
            return error.what
        return ""

    open_folder.chmod(0o755)
    refused = f"{path} cannot be written: Permission denied"
    assert as_user(NOBODY, attempt) == refused
    path.write_text("something long")
    assert as_user(NOBODY, attempt) == refused
    os.chown(path, NOBODY, NOBODY)
    assert as_user(NOBODY, attempt) == ""
    assert path.read_text() == "short"
    path.chmod(0o444)
    assert as_user(NOBODY, attempt) == refused


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none/a", "No such file or directory"),
        ("", "Is a directory"),
        ("a/", "Is a directory"),
        ("a\0b", "no file can have that name"),
        ("n" * 256, "File name too long"),
    ],
)
def test_unwritable_path_is_refused_on_open(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(OutputError, match=f"{tmp_path}/{name} cannot be written: {why}"):
        Replacement(f"{tmp_path}/{name}").__enter__()
    assert os.listdir(tmp_path) == []


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["link", "replace", "posix_fallocate"])
def test_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        write(link if call == "posix_fallocate" else path, "new")
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]
    assert path.read_text() == "old"


def test_full_disk_is_noticed_before_a_file_is_overwritten(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)

    def too_large() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write(link, "x" * 1001)
        except OutputError as error:
            return "cannot be written: File too large" not in error.what
        return 2

    assert os.waitpid(forked.fork(too_large), 0)[1] == 0
    assert path.read_text() == "old"


@pytest.mark.parametrize("before", [False, True])
def test_file_that_came_meanwhile_is_overwritten(tmp_path: Path, before: bool) -> None:
    path, other = tmp_path / "a", tmp_path / "other"
    if before:
        path.write_text("old")
    with Replacement(path) as file:
        file.write("new")
        path.unlink(missing_ok=True)
        other.write_text("something else")
        path.symlink_to(other)
        file.finish()
    assert path.is_symlink()
    assert other.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["a", "other"]


def test_pipe_that_has_come_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with Replacement(path) as file:
        path.unlink()
        os.mkfifo(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(OutputError, match="it is not a regular file any more"):
            file.finish()
        os.close(fd)
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ["a"]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no files without names."""
    real = os.open

    def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)


def aliases(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".kwalk-")]


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("before", [False, True])
def test_file_has_an_alias_where_it_has_to(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "a"
    if before:
        path.write_text("old")
    with Replacement(path) as file:
        file.write("new")
        assert len(aliases(tmp_path)) == 1
        assert path.exists() == before
        file.finish()
        assert path.read_text() == "new"
    give_up(path)
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_text() == "new"


def interrupted(path: Path, number: int, moment: str) -> int:
    """Write a file in a fork that gets a signal at that moment; return how it ended.

    :param moment: ``open``: the file is open; ``put``: it has its alias, ``path`` is the old one.
    """

    def child() -> None:
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        elif number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        if moment == "put":
            # A real file system: what is renamed is what was linked just before.
            os.replace = lambda *_, **__: os.kill(os.getpid(), number)
        with Replacement(path) as file:
            file.write("new")
            if moment == "open":
                os.kill(os.getpid(), number)
                time.sleep(1)
            file.finish()

    return os.waitstatus_to_exitcode(os.waitpid(forked.fork(child), 0)[1])


@pytest.mark.parametrize("moment", ["open", "put"])
@pytest.mark.parametrize("with_alias", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_signal_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, request: pytest.FixtureRequest, number: int, with_alias: bool, moment: str
) -> None:
    if with_alias:
        request.getfixturevalue("named")
    path = tmp_path / "a"
    path.write_text("old")
    code = interrupted(path, number, moment)
    # forked.finish() has an exit code of its own for KeyboardInterrupt.
    assert code == (99 if number == signal.SIGINT else -number)
    assert path.read_text() == "old"
    killed = number == signal.SIGKILL and (with_alias or moment == "put")
    assert len(aliases(tmp_path)) == killed
    write(path, "newer")
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_text() == "newer"


def test_signals_are_as_they_were_afterwards(tmp_path: Path) -> None:
    """Handlers of a program that uses kwalk, and signals it ignores, are left alone throughout."""
    path = tmp_path / "a"
    path.touch()
    numbers = signal.SIGTERM, signal.SIGHUP
    for handler in (signal.SIG_DFL, signal.SIG_IGN, print):
        before = [signal.signal(number, handler) for number in numbers]
        try:
            write(path, "new")
            assert [signal.getsignal(number) for number in numbers] == [handler] * 2
            if handler != signal.SIG_DFL:
                give_up(path)
        finally:
            for number, old in zip(numbers, before, strict=True):
                signal.signal(number, old)


@pytest.mark.usefixtures("named")
def test_file_is_written_in_a_thread(tmp_path: Path) -> None:
    """Where no signal can be handled."""
    thread = threading.Thread(target=write, args=(tmp_path / "a", "new"))
    thread.start()
    thread.join()
    assert os.listdir(tmp_path) == ["a"]


LEFT = ".kwalk-0123456789abcdef.new"


def test_temp_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / LEFT).touch(0o600)
    write(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == ["a"]


def test_file_that_is_held_is_not_cleared(tmp_path: Path) -> None:
    with (tmp_path / LEFT).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(tmp_path / "a", "new")
        assert sorted(os.listdir(tmp_path)) == [LEFT, "a"]
    write(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.usefixtures("named")
def test_concurrent_writers_do_not_interfere(tmp_path: Path) -> None:
    with Replacement(tmp_path / "a") as one, Replacement(tmp_path / "a") as other:
        assert len(aliases(tmp_path)) == 2
        for number, file in enumerate((one, other)):
            file.write(f"{number}")
            file.finish()
            assert (tmp_path / "a").read_text() == f"{number}"
    assert os.listdir(tmp_path) == ["a"]


@as_root
def test_temp_file_of_another_user_is_kept(open_folder: Path) -> None:
    (open_folder / LEFT).touch()
    os.chown(open_folder / LEFT, NOBODY, NOBODY)
    write(open_folder / "a", "new")
    assert sorted(os.listdir(open_folder)) == [LEFT, "a"]
    os.chown(open_folder / LEFT, 0, 0)
    as_user(NOBODY, lambda: write(open_folder / "b", "new"))
    assert (open_folder / LEFT).exists()


@pytest.mark.parametrize("kind", ["link", "hard", "folder", "fifo", "other name"])
def test_file_that_is_no_leftover_is_kept(tmp_path: Path, kind: str) -> None:
    left = tmp_path / (LEFT if kind != "other name" else ".kwalk-notes.new")
    (tmp_path / "b").touch()
    if kind == "link":
        left.symlink_to("b")
    elif kind == "hard":
        left.hardlink_to(tmp_path / "b")
    elif kind == "folder":
        left.mkdir()
    elif kind == "fifo":
        os.mkfifo(left)
    else:
        left.touch()
    write(tmp_path / "a", "new")
    assert sorted(os.listdir(tmp_path)) == sorted([left.name, "a", "b"])


def test_file_made_through_a_dangling_link_is_removed(tmp_path: Path) -> None:
    link, path = tmp_path / "link", tmp_path / "a"
    link.symlink_to(path)
    give_up(link)
    assert os.listdir(tmp_path) == ["link"]
    with Replacement(link):
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
