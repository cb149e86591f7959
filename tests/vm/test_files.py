# SPDX-License-Identifier: MIT
"""Files in world-writable folders, under all protections that the kernel has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import call, only_on

from allowed import CASES, NOBODY, ROOT, WAYS, outcomes, shell
from kwalk.recording.files import load

pytestmark = only_on("debian-13")

SETTINGS = {"protected_symlinks": 1, "protected_regular": 2, "protected_fifos": 2}
FS = Path("/proc/sys/fs")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Switch all protections on, as distributions do."""
    before = {name: (FS / name).read_text() for name in SETTINGS}
    for name, value in SETTINGS.items():
        (FS / name).write_text(str(value))
    yield
    for name, text in before.items():
        (FS / name).write_text(text)


@pytest.fixture
def top() -> Iterator[Path]:
    """Make a folder that other users may enter."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        Path(name).chmod(0o755)
        yield Path(name)


STICKY = [case for case in CASES if case.folder_mode == 0o1777]


@pytest.mark.parametrize("user", [ROOT, NOBODY])
def test_output_is_written_where_a_shell_would(top: Path, user: int) -> None:
    wanted = outcomes(shell, STICKY, user, top / "shell")
    refused = {case.kind for case, (why, _) in zip(STICKY, wanted, strict=True) if why}
    assert refused >= {"file", "link", "dangling", "hard", "fifo", "folder"}
    for name, way in WAYS.items():
        found = outcomes(way, STICKY, user, top / name)
        rows = zip(STICKY, found, wanted, strict=True)
        assert [(case, is_, should) for case, is_, should in rows if is_ != should] == []


def test_trap_of_another_user_is_not_stepped_into(top: Path) -> None:
    """A link in a folder like /tmp, to a file of root's and to where none is yet."""
    folder, secret = top / "tmp", top / "secret"
    folder.mkdir()
    folder.chmod(0o1777)
    secret.write_text("secret")
    secret.chmod(0o600)
    for name, target in (("old.rec", secret), ("new.rec", top / "new")):
        (folder / name).symlink_to(target)
        os.chown(folder / name, NOBODY, NOBODY, follow_symlinks=False)
        words = "kwalk", "record", "vfs_read", "--duration", "0.5", "-o", str(folder / name)
        code, _, err = call(*words)
        assert (code, err.count("Permission denied")) == (1, 1), err
        assert f"{folder / name} cannot be written" in err
        code, _, err = call("kwalk", "compare", "vfs_read", f"--html={folder / name}")
        assert (code, err.count("Permission denied")) == (1, 1), err
    assert secret.read_text() == "secret"
    assert sorted(os.listdir(top)) == ["secret", "tmp"]
    assert sorted(os.listdir(folder)) == ["new.rec", "old.rec"]


def test_recording_and_report_with_addresses_are_for_nobody_else_to_read(top: Path) -> None:
    path, page = top / "reads.rec", top / "reads.json"
    mask = os.umask(0o022)
    try:
        words = "kwalk", "record", "vfs_read", "--duration", "1", "-o", str(path)
        for command in (words, ("kwalk", "report", str(path), "-o", str(page))):
            code, _, err = call(*command)
            assert code == 0, err
    finally:
        os.umask(mask)
    assert load(path).summary.function == "vfs_read"
    for made in (path, page):
        assert made.stat().st_mode & 0o777 == 0o600


def test_file_system_without_unnamed_files_gets_named_ones(tmp_path: Path) -> None:
    """The host's, by 9p."""
    path = tmp_path / "reads.rec"
    words = "kwalk", "record", "vfs_read", "--duration", "1", "-o", str(path)
    for _ in range(2):
        code, _, err = call(*words)
        assert code == 0, err
        assert load(path).summary.function == "vfs_read"
        assert os.listdir(tmp_path) == ["reads.rec"]
