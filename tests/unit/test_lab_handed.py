# SPDX-License-Identifier: MIT
"""Files that a guest has left in --out, as QEMU keeps them: with attributes, links as files."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.errors import KwalkError
from kwalk.lab import handed, machine


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def map_(path: Path, mode: int, uid: int = 12345) -> None:
    """Give a file the attributes that QEMU gives one of the guest's."""
    for name, value in (("mode", mode), ("uid", uid), ("gid", uid), ("rdev", 0x103)):
        os.setxattr(path, f"user.virtfs.{name}", value.to_bytes(4, "little"))


def made(path: Path, mode: int, text: str = "") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    map_(path, mode)
    return path


def attributes(path: Path) -> list[str]:
    return [name for name in os.listxattr(path) if name.startswith("user.virtfs")]


@pytest.mark.parametrize(
    ("guest", "host"),
    [(0o4755, 0o755), (0o2755, 0o755), (0o7777, 0o755), (0o666, 0o644), (0o400, 0o400), (0, 0)],
)
def test_files_keep_plain_modes_only(tmp_path: Path, guest: int, host: int) -> None:
    file = made(tmp_path / "file", stat.S_IFREG | guest, "x")
    handed.settle(tmp_path)
    status = file.stat()
    assert stat.S_IMODE(status.st_mode) == host
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    assert attributes(file) == []


def test_folders_are_settled_behind_what_they_hold(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    map_(inner, stat.S_IFDIR | 0o1777)
    map_(inner.parent, stat.S_IFDIR | 0o500)
    map_(tmp_path, stat.S_IFDIR | 0o777)
    before = tmp_path.stat().st_mode
    made(inner / "pipe", stat.S_IFIFO | 0o666)
    handed.settle(tmp_path)
    assert stat.S_IMODE(inner.stat().st_mode) == 0o755
    assert stat.S_IMODE(inner.parent.stat().st_mode) == 0o500
    assert tmp_path.stat().st_mode == before
    assert not (inner / "pipe").exists()
    assert attributes(inner) == attributes(inner.parent) == attributes(tmp_path) == []
    inner.parent.chmod(0o700)


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0])
def test_devices_are_removed_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: int
) -> None:
    made(tmp_path / "dev\x1b[2J", kind | 0o666)
    handed.settle(tmp_path)
    assert list(tmp_path.iterdir()) == []
    err = capsys.readouterr().err
    assert "1 in all: dev?[2J (neither a file, a folder nor a link)" in err


@pytest.mark.parametrize("target", ["file", "./file", "a/b", "../other", "../../x/y", "nowhere"])
def test_links_that_stay_inside_become_links(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    link = made(folder / "link", stat.S_IFLNK | 0o777, target)
    handed.settle(tmp_path)
    assert os.readlink(link) == target


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "..", "../x", "a/../../x", "a/../b", "", "/", "//x", "x\0y"]
)
def test_links_that_may_lead_outside_are_removed_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    made(tmp_path / "link", stat.S_IFLNK | 0o777, target)
    handed.settle(tmp_path)
    assert not os.path.lexists(tmp_path / "link")
    assert "link (a link that leads outside)" in capsys.readouterr().err


NAMES = ["a", "b", "c"]
TARGETS = st.lists(st.sampled_from([*NAMES, "..", "."]), min_size=1, max_size=5).map("/".join)
PLACES = st.lists(st.sampled_from(NAMES), max_size=2).map("/".join)


@given(st.lists(st.tuples(PLACES, st.sampled_from(NAMES), TARGETS), max_size=6))
def test_link_chains_lead_nowhere_outside(links: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch, "x", "y", "z", "out")
        top.mkdir(parents=True)
        for place, name, target in links:
            folder = top / place
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True)
            if folder.is_dir() and not os.path.lexists(folder / name):
                made(folder / name, stat.S_IFLNK | 0o777, target)
        handed.settle(top)
        for path in top.rglob("*"):
            if path.is_symlink() and path.exists():
                assert path.resolve().is_relative_to(top.resolve())


def test_host_files_in_out_are_unchanged(tmp_path: Path) -> None:
    """Its own links and modes are none of the guest's doing."""
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "tool").touch(0o700)
    (tmp_path / "tool").chmod(0o4711)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2770)
    map_(tmp_path / "shared", stat.S_IFDIR | 0o755)
    handed.settle(tmp_path)
    assert os.readlink(tmp_path / "link") == "/etc"
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o4711
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o2755


def test_folders_without_end_are_settled(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=at)
        deeper = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    made(tmp_path / "file", stat.S_IFREG | 0o4755)
    try:
        handed.settle(tmp_path)
    finally:  # pytest could not
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o755


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_out_that_is_a_link_to_nothing_is_told(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(KwalkError, match="cannot be made: it is a link that leads nowhere"):
        machine._made(tmp_path / "loop")


def test_file_system_without_attributes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(KwalkError, match="keeps no attributes of files") as caught:
        machine._made(tmp_path / "out")
    assert "--out" in caught.value.hint
