# SPDX-License-Identifier: MIT
"""Write a file as the kernel allows it: all at once or not at all, where that can be had."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from io import BytesIO
from typing import IO

from kwalk.errors import NO_NAME, OutputError
from kwalk.support.stdio import encoded
from kwalk.support.temp_file import Aside

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
_ACL = "system.posix_acl_access"
# How much is kept in memory of what cannot be written aside.
_MEMORY = 64 << 20
# A file cannot be put in place for these reasons, but may be written nevertheless.
_NOT_SO = (
    errno.EEXIST, errno.ENOENT, errno.EPERM, errno.EACCES, errno.EBUSY, errno.EXDEV,
    errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS,
)  # fmt: skip
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Replacement:
    """A file that is written out of sight until ``place`` or ``finish`` puts it in place.

    Use it in a ``with``: what was not put in place leaves no trace. Whether the file may be written
    is for open(2) to say, of the path as it was given.

    - A name that nobody has is given to the new file when it is complete.
    - A regular file of one's own is replaced by a new one, which has its group and its mode.
    - Any other regular file (behind a link, of another user, with an ACL, in a folder where no file
      can be made) is overwritten once it is known what with.
    - What is no regular file (a device, a pipe) is written as it comes.

    :param private: Nobody else may read it: mode 0600, or less where a file that is replaced or
        overwritten had less. Another user's file keeps its mode.
    :raises OutputError: from all that writes, ``__enter__`` included.
    """

    def __init__(self, path: str | os.PathLike[str], private: bool = False) -> None:
        self._path = os.fspath(path)
        self._private = private
        self._file: IO[bytes] = BytesIO()  # until it is open
        self._aside: Aside | None = None
        # The regular file that was there; as long as it is open no other has its inode number.
        self._there = -1
        self._made = False  # by opening it
        self._placed = False

    def __enter__(self) -> Replacement:
        try:
            self._open()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, ValueError):
                error = OSError(errno.EINVAL, NO_NAME)
            if isinstance(error, OSError):
                raise OutputError(error, self._path) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # finished, or not wanted any more
            self._file.close()
        if self._aside:
            self._aside.close()
        if self._there >= 0:
            if self._made:
                _remove_empty(self._path, os.fstat(self._there))
            os.close(self._there)

    @property
    def fd(self) -> int:
        """The descriptor of what is written as it comes; -1 of a file that is put in place."""
        return self._file.fileno() if self._placed else -1

    @property
    def _mode(self) -> int:
        return 0o600 if self._private else 0o666

    def _open(self) -> None:
        try:
            os.lstat(self._path)
        except FileNotFoundError:
            if os.path.basename(self._path) and self._open_aside(None):
                return
        leads_nowhere = not os.path.exists(self._path)
        fd = os.open(self._path, _FLAGS, self._mode)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self._file = os.fdopen(fd, "wb")
            self._placed = True
            return
        self._there, self._made = fd, leads_nowhere
        replaceable = found.st_uid == os.geteuid() and not _has_acl(fd)
        if not (replaceable and self._open_aside(found)):
            from tempfile import SpooledTemporaryFile

            self._file = SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 (__exit__ closes it)

    def _open_aside(self, old: os.stat_result | None) -> bool:
        """Make the file that takes its place; return False if that cannot be.

        :param old: The file that was opened; None if there is none.
        """
        aside = Aside(self._path)
        try:
            aside.open(self._mode)
            if old:
                fd = aside.file.fileno()
                os.fchown(fd, -1, old.st_gid)
                os.fchmod(fd, old.st_mode & (0o600 if self._private else 0o777))
        except OSError:
            aside.close()
            return False
        self._aside, self._file = aside, aside.file
        return True

    def make_private(self) -> None:
        """Let nobody else read it, as ``private`` does; before it is put in place."""
        self._private = True
        if self._aside:
            _narrow(self._aside.file.fileno())

    def write(self, piece: str | bytes) -> None:
        """Write what comes next."""
        try:
            self._file.write(piece if isinstance(piece, bytes) else encoded(piece))
        except OSError as error:
            raise OutputError(error, self._path) from error

    def place(self) -> int:
        """Put what was written in place; return the file, to which more can be written."""
        try:
            self._file.flush()
            if not self._placed:
                self._put()
                self._placed = True
        except OSError as error:
            raise OutputError(error, self._path) from error
        return self._file.fileno()

    def finish(self) -> None:
        """Put it in place: this was all."""
        self.place()
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(error, self._path) from error

    def _put(self) -> None:
        if self._aside:
            try:
                self._aside.put(None if self._there < 0 else os.fstat(self._there))
                return
            except OSError as error:
                if error.errno not in _NOT_SO:
                    raise
        self._overwrite()

    def _opened_again(self) -> IO[bytes]:
        try:
            # If it is a pipe by now, maybe nobody reads from it.
            fd = os.open(self._path, _FLAGS | os.O_NONBLOCK, self._mode)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        else:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return os.fdopen(fd, "wb")
            os.close(fd)
        raise FileExistsError(errno.EEXIST, "it is no file any more")

    def _overwrite(self) -> None:
        """Write what there is into the file that the path leads to."""
        from shutil import copyfileobj

        target = self._opened_again()
        try:
            found = os.fstat(target.fileno())
            _reserve(target.fileno(), self._file.tell(), found.st_size)
            if self._private and found.st_uid == os.geteuid():
                _narrow(target.fileno())
            target.truncate(0)
            self._made = False
            self._file.seek(0)
            copyfileobj(self._file, target, 1 << 20)
            target.flush()
        except BaseException:
            with suppress(OSError):
                target.close()
            raise
        self._file.close()
        self._file = target


def _narrow(fd: int) -> None:
    os.fchmod(fd, os.fstat(fd).st_mode & 0o600)


def _has_acl(fd: int) -> bool:
    with suppress(OSError):  # this file system has none
        return _ACL in os.listxattr(fd)
    return False


def _reserve(fd: int, size: int, old_size: int) -> None:
    """Have room for a file's new contents while the old ones are there.

    :raises OSError: if there is none.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:  # else the file system cannot tell
            os.ftruncate(fd, old_size)
            raise


def _remove_empty(path: str, made: os.stat_result) -> None:
    """Remove a file that was made, by a link that led to none or without."""
    with suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            folder, name = os.path.split(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
        parent = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            now = os.lstat(name, dir_fd=parent)
            if os.path.samestat(now, made) and not now.st_size:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)
