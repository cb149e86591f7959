# SPDX-License-Identifier: MIT
"""Files of all kinds and owners in all kinds of folders, and attempts of users to write them.

Tests run as root and become another user in a fork.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import forked
from kwalk.cli.recorder import Recorder
from kwalk.errors import OutputError
from kwalk.model.ledger import Ledger, Summary
from kwalk.support.atomic_file import Replacement

ROOT, NOBODY, OTHER = 0, 65534, 65533
TEXT = "all of it"


class Case(NamedTuple):
    """A file in a folder, with the owner and mode of both.

    :ivar kind: ``file``, ``link`` to a file elsewhere, ``within``: a file behind a link to the
        folder, ``dangling``: a link to where none is, ``hard``: a file with two names, ``fifo``,
        ``folder``, ``absent``.
    """

    kind: str
    owner: int
    mode: int
    folder_owner: int
    folder_mode: int

    def make(self, top: Path) -> Path:
        """Create the file; return its path."""
        folder, away = top / "folder", top / "away"
        for path in (folder, away):
            path.mkdir(parents=True)
        path, target = folder / "out", away / "target"
        if self.kind == "link":
            target.write_text("old")
            path.symlink_to(target)
        elif self.kind == "dangling":
            path.symlink_to(target)
        elif self.kind == "fifo":
            os.mkfifo(path)
        elif self.kind == "folder":
            path.mkdir()
        elif self.kind != "absent":
            path.write_text("old")
        if self.kind == "hard":
            target.hardlink_to(path)
        if self.kind == "within":
            (top / "way").symlink_to(folder)
            os.chown(top / "way", self.owner, self.owner, follow_symlinks=False)
        if path.is_symlink():
            os.chown(path, self.owner, self.owner, follow_symlinks=False)
        for made in (path, target):
            if made.exists() and not made.is_symlink():
                made.chmod(self.mode)
                os.chown(made, self.owner, self.owner)
        away.chmod(0o777)
        folder.chmod(self.folder_mode)
        os.chown(folder, self.folder_owner, self.folder_owner)
        top.chmod(0o1777 if self.kind == "within" else 0o755)
        return top / "way" / "out" if self.kind == "within" else path


CASES = [
    Case(kind, owner, mode, folder_owner, folder_mode)
    for kind, owner, mode, folder_owner, folder_mode in product(
        ("file", "link", "within", "dangling", "hard", "fifo", "folder", "absent"),
        (ROOT, NOBODY, OTHER),
        (0o444, 0o666),
        (ROOT, NOBODY),
        (0o1777, 0o777, 0o755),
    )
    # An absent file has no owner.
    if kind != "absent" or (owner, mode) == (ROOT, 0o666)
]


def shell(path: Path) -> str:
    """Write as a shell's ``> path`` does; return the error, "" for success."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        return str(error.strerror)
    os.write(fd, TEXT.encode())
    os.close(fd)
    return ""


def report(path: Path) -> str:
    """Write as reports are written; return as ``shell`` does."""
    try:
        with Replacement(path) as file:
            file.write(TEXT)
            file.finish()
    except OutputError as error:
        return _reason(path, error)
    return ""


def record(path: Path) -> str:
    """Write as recordings are written; return as ``shell`` does."""
    try:
        with Recorder(str(path)) as recorder:
            recorder.begin({}, Summary("ip_rcv", "manual", "fentry", "6.1", Ledger()))
            recorder.end([], 1.0, Summary("ip_rcv", "manual", "fentry", "6.1", Ledger()))
    except OutputError as error:
        return _reason(path, error)
    return ""


def _reason(path: Path, error: OutputError) -> str:
    before, _, reason = error.what.partition(f"{path} cannot be written: ")
    assert not before
    return reason


WAYS: dict[str, Callable[[Path], str]] = {"report": report, "record": record}


def as_user(user: int, body: Callable[[], object]) -> object:
    """Run a function as a user, in a fork; return its result, which passes as JSON."""
    with tempfile.TemporaryFile("w+") as result:

        def run() -> None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            json.dump(body(), result)
            result.flush()

        assert os.waitpid(forked.fork(run), 0)[1] == 0
        result.seek(0)
        return json.load(result)


def _is_fifo(path: Path) -> bool:
    """Return whether it is a FIFO, or a link to one that may be followed."""
    try:
        return path.is_fifo()
    except PermissionError:
        return False


def outcomes(
    way: Callable[[Path], str], cases: Iterable[Case], user: int, top: Path
) -> list[tuple[str, object]]:
    """Write all of these files as a user; return the error and the resulting state of each."""
    paths = [case.make(top / str(number)) for number, case in enumerate(cases)]
    pipes = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths if _is_fifo(path)]
    reasons = as_user(user, lambda: [way(path) for path in paths])
    for fd in pipes:
        os.close(fd)
    assert isinstance(reasons, list)
    return [(why, _state(path)) for why, path in zip(reasons, paths, strict=True)]


def _state(path: Path) -> object:
    """Return the state of a path: kind, owner, mode, link target, other names in its folder."""
    folder = _followed(path.parent)
    names = sorted(os.listdir(folder)), sorted(os.listdir(path.parent.parent / "away"))
    path = folder / path.name
    if not os.path.lexists(path):
        return names
    end = found = path.lstat()
    with suppress(FileNotFoundError):
        end = _followed(path).lstat()
    filled = bool(end.st_size) if stat.S_ISREG(end.st_mode) else None
    return (
        names, stat.S_IFMT(found.st_mode), found.st_uid, stat.S_IFMT(end.st_mode), end.st_uid,
        filled,
    )  # fmt: skip


def _followed(path: Path) -> Path:
    """Return the target of a link that not even root may follow in some of these folders."""
    return path.parent / path.readlink() if path.is_symlink() else path
