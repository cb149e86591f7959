# SPDX-License-Identifier: MIT
"""Atomic replacement of files, with overwriting as the fallback."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from io import BytesIO
from typing import IO

from kwalk.errors import NO_NAME, OutputError
from kwalk.support.stdio import encoded
from kwalk.support.temp_file import TempFile

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
_ACL = "system.posix_acl_access"
# Bytes buffered in memory, before a spool file, if no temporary file can be made in the folder.
_MEMORY = 64 << 20
# Errors of link() and rename() after which overwriting the file may still succeed.
_OVERWRITE_AFTER = (
    errno.EEXIST, errno.ENOENT, errno.EPERM, errno.EACCES, errno.EBUSY, errno.EXDEV,
    errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS,
)  # fmt: skip
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Replacement:
    """File contents that stay invisible until ``place`` or ``finish`` puts them at the path.

    Use it in a ``with``: contents that were not placed leave no trace. open(2) on the path as given
    decides whether it may be written.

    - No file at the path: a new file gets the name once it is complete.
    - A regular file of this user: a new file replaces it and has the same group and mode.
    - Any other regular file (reached by a symlink, another user's, with an ACL, in a folder where
      no file can be made): overwritten once the contents are complete.
    - A device or a pipe: written directly.

    :param private: Let only this user read the file: mode 0600, or less if the replaced or
        overwritten file had less. Another user's file keeps its mode.
    :raises OutputError: from every method that writes, ``__enter__`` included.
    """

    def __init__(self, path: str | os.PathLike[str], private: bool = False) -> None:
        self._path = os.fspath(path)
        self._private = private
        self._file: IO[bytes] = BytesIO()  # placeholder until _open()
        self._temp: TempFile | None = None
        # The regular file at the path; kept open so that its inode number is not reused.
        self._old_fd = -1
        self._created = False  # opening the path created that file
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
        with suppress(OSError):  # the contents are placed, or no longer needed
            self._file.close()
        if self._temp:
            self._temp.close()
        if self._old_fd >= 0:
            if self._created:
                _remove_empty(self._path, os.fstat(self._old_fd))
            os.close(self._old_fd)

    @property
    def fd(self) -> int:
        """Descriptor of the file at the path; -1 until the contents are placed."""
        return self._file.fileno() if self._placed else -1

    @property
    def _mode(self) -> int:
        return 0o600 if self._private else 0o666

    def _open(self) -> None:
        try:
            os.lstat(self._path)
        except FileNotFoundError:
            if os.path.basename(self._path) and self._open_temp(None):
                return
        dangling = not os.path.exists(self._path)
        fd = os.open(self._path, _FLAGS, self._mode)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self._file = os.fdopen(fd, "wb")
            self._placed = True
            return
        self._old_fd, self._created = fd, dangling
        replaceable = found.st_uid == os.geteuid() and not _has_acl(fd)
        if not (replaceable and self._open_temp(found)):
            from tempfile import SpooledTemporaryFile

            self._file = SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 (__exit__ closes it)

    def _open_temp(self, old: os.stat_result | None) -> bool:
        """Create the temporary file; return False if the folder does not allow one.

        :param old: The file at the path; None if there is none.
        """
        temp = TempFile(self._path)
        try:
            temp.open(self._mode)
            if old:
                fd = temp.file.fileno()
                os.fchown(fd, -1, old.st_gid)
                os.fchmod(fd, old.st_mode & (0o600 if self._private else 0o777))
        except OSError:
            temp.close()
            return False
        self._temp, self._file = temp, temp.file
        return True

    def make_private(self) -> None:
        """Set ``private`` late, but before the contents are placed."""
        self._private = True
        if self._temp:
            _restrict(self._temp.file.fileno())

    def write(self, piece: str | bytes) -> None:
        """Append bytes, or text as UTF-8."""
        try:
            self._file.write(piece if isinstance(piece, bytes) else encoded(piece))
        except OSError as error:
            raise OutputError(error, self._path) from error

    def place(self) -> int:
        """Put the contents at the path; return a descriptor that takes further writes."""
        try:
            self._file.flush()
            if not self._placed:
                self._put()
                self._placed = True
        except OSError as error:
            raise OutputError(error, self._path) from error
        return self._file.fileno()

    def finish(self) -> None:
        """Put the contents at the path and close the file."""
        self.place()
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(error, self._path) from error

    def _put(self) -> None:
        if self._temp:
            try:
                self._temp.put(None if self._old_fd < 0 else os.fstat(self._old_fd))
                return
            except OSError as error:
                if error.errno not in _OVERWRITE_AFTER:
                    raise
        self._overwrite()

    def _reopened(self) -> IO[bytes]:
        try:
            # A pipe without a reader may have taken the file's place.
            fd = os.open(self._path, _FLAGS | os.O_NONBLOCK, self._mode)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        else:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return os.fdopen(fd, "wb")
            os.close(fd)
        raise FileExistsError(errno.EEXIST, "it is not a regular file any more")

    def _overwrite(self) -> None:
        """Overwrite the file at the path with the contents so far."""
        from shutil import copyfileobj

        target = self._reopened()
        try:
            found = os.fstat(target.fileno())
            _reserve(target.fileno(), self._file.tell(), found.st_size)
            if self._private and found.st_uid == os.geteuid():
                _restrict(target.fileno())
            target.truncate(0)
            self._created = False
            self._file.seek(0)
            copyfileobj(self._file, target, 1 << 20)
            target.flush()
        except BaseException:
            with suppress(OSError):
                target.close()
            raise
        self._file.close()
        self._file = target


def _restrict(fd: int) -> None:
    os.fchmod(fd, os.fstat(fd).st_mode & 0o600)


def _has_acl(fd: int) -> bool:
    with suppress(OSError):  # the file system has no ACLs
        return _ACL in os.listxattr(fd)
    return False


def _reserve(fd: int, size: int, old_size: int) -> None:
    """Allocate room for a file's new contents before the old ones are truncated.

    :raises OSError: if there is not enough.
    """
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:  # other errors: the file system does not support fallocate
            os.ftruncate(fd, old_size)
            raise


def _remove_empty(path: str, made: os.stat_result) -> None:
    """Remove the file ``made`` if it is still empty; the path may reach it by a symlink."""
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
