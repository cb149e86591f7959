# SPDX-License-Identifier: MIT
"""Temporary file that gets its name, or replaces an older file, once it is complete."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
from contextlib import suppress
from types import FrameType
from typing import Any, BinaryIO

# Name of an incomplete file on a file system without O_TMPFILE.
_ALIAS = re.compile(r"\.kwalk-[0-9a-f]{16}\.new")
_FLAGS = os.O_RDWR | os.O_CLOEXEC


class TempFile:
    """Unnamed file (O_TMPFILE) in the folder of a path; ``put`` gives it the path's name.

    On a file system without O_TMPFILE it has an alias, which ``close`` removes, and so do SIGTERM
    and SIGHUP if their default action would end the process. The file is locked (flock) while it
    is open: an alias without a lock belongs to a killed process, and the next ``open`` in the
    folder removes it.

    :param path: Path of the finished file; must end in a name.
    :ivar file: The open file, readable and writable.
    """

    file: BinaryIO

    def __init__(self, path: str) -> None:
        self._parent, self._name = os.path.split(path)
        self._folder = -1
        self._alias = ""
        self._handlers: dict[signal.Signals, Any] = {}

    def open(self, mode: int) -> None:
        """Create the file; a failure leaves nothing behind.

        :param mode: Permission bits before the umask, see ``os.open``.
        :raises OSError: if no file can be made in this folder.
        """
        try:
            # The "." makes the kernel follow a link as an inner, not as the last, part of the path.
            folder = os.path.join(self._parent or ".", ".")
            self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            _clear(self._folder)
            self.file = os.fdopen(self._make(mode), "w+b")
        except BaseException:
            self.close()
            raise

    def _make(self, mode: int) -> int:
        with suppress(OSError):  # not only EOPNOTSUPP: any other error recurs for a named file
            return _locked(os.open(".", _FLAGS | os.O_TMPFILE, mode, dir_fd=self._folder))
        while True:
            self._choose_alias()
            flags = _FLAGS | os.O_CREAT | os.O_EXCL
            fd = _locked(os.open(self._alias, flags, mode, dir_fd=self._folder))
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # another process removed it before it was locked

    def replaces(self, old: os.stat_result | None) -> bool:
        """Return whether the name still belongs to ``old`` itself, not to a link to it.

        :param old: None checks that the name is unused.
        """
        try:
            now = os.lstat(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return old is None
        return old is not None and os.path.samestat(now, old)

    def put(self, old: os.stat_result | None) -> None:
        """Give the file its final name atomically.

        :param old: The file that has the name now; None if it is unused.
        :raises FileExistsError: if another file has the name.
        """
        self.file.flush()
        if old is None and not self._alias:
            self._link(self._name)
            return
        if not self._alias:
            self._choose_alias()
            self._link(self._alias)  # link() cannot replace a file, rename() can
        if not self.replaces(old):
            raise FileExistsError(errno.EEXIST, "another file has taken its place")
        os.replace(self._alias, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._alias = ""

    def _link(self, name: str) -> None:
        os.link(f"/proc/self/fd/{self.file.fileno()}", name, dst_dir_fd=self._folder)

    def close(self) -> None:
        """Close the file; it disappears unless ``put`` named it."""
        if hasattr(self, "file"):
            with suppress(OSError):
                self.file.close()
        self._remove_alias()
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._end:
                signal.signal(number, handler)
        self._handlers.clear()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _choose_alias(self) -> None:
        """Choose an alias, and have SIGTERM and SIGHUP remove it."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                with suppress(ValueError):  # only the main thread can set handlers
                    self._handlers[number] = signal.signal(number, self._end)
        self._alias = f".kwalk-{os.urandom(8).hex()}.new"

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._remove_alias()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _remove_alias(self) -> None:
        if self._alias:
            with suppress(OSError):
                os.unlink(self._alias, dir_fd=self._folder)
            self._alias = ""


def _locked(fd: int) -> int:
    with suppress(OSError):  # without flock() here, _clear_one() removes nothing either
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _clear(folder: int) -> None:
    """Remove the aliases that killed processes of this user left in a folder."""
    with suppress(OSError):  # the folder may not be readable
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            names = [name for name in os.listdir(fd) if _ALIAS.fullmatch(name)]
        finally:
            os.close(fd)
        for name in names:
            with suppress(OSError):  # another user's, locked, or gone
                _clear_one(name, folder)


def _clear_one(name: str, folder: int) -> None:
    if not _is_ours(os.lstat(name, dir_fd=folder)):
        return
    flags = _FLAGS | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # put() may have named it before it was locked here.
        found = os.fstat(fd)
        if _is_ours(found) and os.path.samestat(found, os.lstat(name, dir_fd=folder)):
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
