# SPDX-License-Identifier: MIT
"""Write a file that takes the place of another: all at once, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import BinaryIO

from kwalk.errors import OutputError
from kwalk.output import encoded


class Replacement:
    """A file that is written aside until ``finish`` puts it in place.

    Use it in a ``with``: what was not finished leaves no trace. What is no regular file (a device,
    a pipe) is written as it is; so is a file in a folder where none can be made.

    :param path: What is to be written; where it is a link, what that leads to.
    :raises OutputError: from all that writes, ``__enter__`` included.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._target = os.path.realpath(self._path)
        self._aside = ""

    def __enter__(self) -> Replacement:
        try:
            self._file = self._open()
        except OSError as error:
            raise OutputError(error, self._path) from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # finished, or not wanted any more
            self._file.close()
        if self._aside:
            with suppress(OSError):
                os.unlink(self._aside)

    def _open(self) -> BinaryIO:
        there = os.path.isfile(self._path)
        if not there and (os.path.exists(self._path) or not os.path.basename(self._path)):
            return _opened(self._path)
        aside = os.path.join(os.path.dirname(self._target), f".kwalk-{secrets.token_hex(8)}.new")
        try:
            file = _opened(aside, os.O_CREAT | os.O_EXCL)
        except OSError as error:
            if there and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return _opened(self._path)
            raise
        self._aside = aside
        with suppress(OSError):  # there is none; or it is not ours, and neither is its owner
            old = os.stat(self._target)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
        return file

    def write(self, piece: str | bytes) -> None:
        """Write what comes next."""
        try:
            self._file.write(piece if isinstance(piece, bytes) else encoded(piece))
        except OSError as error:
            raise OutputError(error, self._path) from error

    def finish(self) -> None:
        """Put it in place: this was all."""
        try:
            self._file.flush()
            if self._aside:
                _check_file(self._target)
                os.replace(self._aside, self._target)
                self._aside = ""
            elif stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate()
            self._file.close()
        except OSError as error:
            raise OutputError(error, self._path) from error


def _check_file(path: str) -> None:
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "it is no file any more", path)


def _opened(path: str, flags: int = 0) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o666), "wb")
