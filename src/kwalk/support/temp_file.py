# SPDX-License-Identifier: MIT
"""A new file that takes its name, or the place of an older file, once it is complete."""

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

# The alias of a file that is not complete.
_ALIAS = re.compile(r"\.kwalk-[0-9a-f]{16}\.new")
_FLAGS = os.O_RDWR | os.O_CLOEXEC


class Aside:
    """A file in the folder of a path, without a name until ``put`` gives it that of the path.

    Where the file system has no files without a name (O_TMPFILE), it has an alias meanwhile, which
    ``close`` removes, and so do SIGTERM and SIGHUP where they end the process. The file is locked
    (flock) as long as it is open: nobody holds what a killed process has left, and the next
    ``open`` in the folder clears it.

    :param path: Of the file that is to be; it ends in a name.
    :ivar file: To be written and read.
    """

    file: BinaryIO

    def __init__(self, path: str) -> None:
        self._parent, self._name = os.path.split(path)
        self._folder = -1
        self._alias = ""
        self._handlers: dict[signal.Signals, Any] = {}

    def open(self, mode: int) -> None:
        """Make the file; where that fails nothing is left of it.

        :param mode: As for ``os.open``.
        :raises OSError: if no file can be made in this folder.
        """
        try:
            # The "." has the kernel follow a link as within the path itself, not as at its end.
            folder = os.path.join(self._parent or ".", ".")
            self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            _clear(self._folder)
            self.file = os.fdopen(self._make(mode), "w+b")
        except BaseException:
            self.close()
            raise

    def _make(self, mode: int) -> int:
        with suppress(OSError):  # if it is for another reason, a file with a name fails as well
            return _locked(os.open(".", _FLAGS | os.O_TMPFILE, mode, dir_fd=self._folder))
        while True:
            self._choose_alias()
            flags = _FLAGS | os.O_CREAT | os.O_EXCL
            fd = _locked(os.open(self._alias, flags, mode, dir_fd=self._folder))
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # somebody cleared it before it was locked

    def replaces(self, old: os.stat_result | None) -> bool:
        """Whether this has the name in the folder: this very file, and not through a link.

        :param old: None: nothing has the name.
        """
        try:
            now = os.lstat(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return old is None
        return old is not None and os.path.samestat(now, old)

    def put(self, old: os.stat_result | None) -> None:
        """Give the file its name, all at once.

        :param old: What has that name; None if nothing has.
        :raises FileExistsError: if something else has it by now.
        """
        self.file.flush()
        if old is None and not self._alias:
            self._link(self._name)
            return
        if not self._alias:
            self._choose_alias()
            self._link(self._alias)  # a link replaces nothing, but a rename does
        if not self.replaces(old):
            raise FileExistsError(errno.EEXIST, "something else has taken its place")
        os.replace(self._alias, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._alias = ""

    def _link(self, name: str) -> None:
        os.link(f"/proc/self/fd/{self.file.fileno()}", name, dst_dir_fd=self._folder)

    def close(self) -> None:
        """Close the file; without a name it is gone."""
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
        """Choose the name to have meanwhile; signals that end the process remove it."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                with suppress(ValueError):  # signals are handled in the main thread only
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
    with suppress(OSError):  # this file system has no locks: then nobody clears anything in it
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _clear(folder: int) -> None:
    """Remove what killed processes of this user have left in a folder."""
    with suppress(OSError):  # it may not be listed
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            names = [name for name in os.listdir(fd) if _ALIAS.fullmatch(name)]
        finally:
            os.close(fd)
        for name in names:
            with suppress(OSError):  # somebody else's, held, or gone
                _clear_one(name, folder)


def _clear_one(name: str, folder: int) -> None:
    if not _is_ours(os.lstat(name, dir_fd=folder)):
        return
    flags = _FLAGS | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before it was locked here, it may have been put in place.
        found = os.fstat(fd)
        if _is_ours(found) and os.path.samestat(found, os.lstat(name, dir_fd=folder)):
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
