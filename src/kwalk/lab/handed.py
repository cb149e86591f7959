# SPDX-License-Identifier: MIT
"""Conversion of the guest's files in the folder of ``--out`` to plain files of this user.

While the machine runs, QEMU keeps owner, mode and type of each file as extended attributes
(security model ``mapped-xattr``). On the host a file has mode 0600, and links and devices are
regular files. So the guest's root cannot create a set-uid file, another user's file, or a link out
of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kwalk.errors import KwalkError
from kwalk.support.printable import plain

_PREFIX = "user.virtfs."
_MODE = "user.virtfs.mode"  # st_mode, little-endian
_LONGEST_TARGET = 4096
_NAMED = 5


def check(folder: Path) -> None:
    """Check that the folder is writable and its file system has ``user.*`` attributes, for QEMU.

    :raises KwalkError: if not.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.setxattr(file.fileno(), _MODE, bytes(4))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            raise KwalkError(
                f"the file system of {folder} keeps no attributes of files (user.*), which QEMU "
                "needs for the owners and modes of the guest's files",
                "Give --out a folder on another file system, such as ext4, XFS or Btrfs.",
            ) from error
        raise KwalkError(f"nothing can be written to {folder}: {error.strerror}") from error


def settle(folder: Path) -> None:
    """Convert a guest's files to plain ones; name the others on stderr.

    Each file gets the guest's nine permission bits, less the umask, but not its owner. Links stay
    if they cannot lead out of the folder; devices, FIFOs and sockets are removed.
    """
    left_out = list(_settled(folder))
    if left_out:
        names = ", ".join(left_out[:_NAMED]) + (", ..." if len(left_out) > _NAMED else "")
        what = f"left out of {folder}, {len(left_out)} in all: {names}"
        print(f"kwalk lab: {what}", file=sys.stderr, flush=True)


def stays_inside(target: str, depth: int) -> bool:
    """Return whether a symlink cannot lead out of a folder, together with other such links.

    :param target: The link's target.
    :param depth: Number of folders between the link and the top folder.
    """
    parts = PurePosixPath(target).parts
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    # After a name, which may be another link, ".." can be the parent of any folder.
    return bool(parts) and target[0] != "/" and up <= depth and ".." not in parts[up:]


def _settled(folder: Path) -> Iterator[str]:
    umask = os.umask(0)
    os.umask(umask)
    for below in reversed(_folders(folder)):  # a folder's contents before its own mode
        try:
            at = os.open(folder / below, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            yield f"contents of {plain(str(below))} ({error.strerror})"
            continue
        try:
            if not below.parts:
                _mapped(at)
            for name in os.listdir(at):
                if why := _settle(name, at, len(below.parts), 0o777 & ~umask):
                    yield f"{plain(str(below / name))} ({why})"
        finally:
            os.close(at)


def _folders(top: Path) -> list[PurePosixPath]:
    """Return all folders, parents before children."""
    found = [PurePosixPath()]
    for below in found:
        try:
            with os.scandir(top / below) as entries:
                inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # another user's, or too deep; _settled() reports it
            continue
        found += [below / name for name in inner]
    return found


def _settle(name: str, at: int, depth: int, allowed: int) -> str:
    """Convert one entry of the folder ``at``; return the reason if it was removed, else ""."""
    with _opened(name, at) as fd:
        mode = None if fd is None else _mapped(fd)
        if fd is None or mode is None:
            return ""
        if stat.S_ISLNK(mode):
            target = os.fsdecode(os.read(fd, _LONGEST_TARGET)).rstrip("\0")
            os.unlink(name, dir_fd=at)
            if not stays_inside(target, depth) or "\0" in target:
                return "a link that leads outside"
            os.symlink(target, name, dir_fd=at)
        elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            # A folder keeps the host's set-gid and sticky bits, as in a group's shared folder.
            own = os.fstat(fd).st_mode
            os.fchmod(fd, (mode & allowed) | (own & 0o7000 if stat.S_ISDIR(own) else 0))
        else:
            os.unlink(name, dir_fd=at)
            return "neither a file, a folder nor a link"
    return ""


@contextmanager
def _opened(name: str, at: int) -> Iterator[int | None]:
    """Open a file or folder; yields None for other types, and if this user may not read it."""
    kinds = (stat.S_ISREG, stat.S_ISDIR)
    try:
        there = os.stat(name, dir_fd=at, follow_symlinks=False)
        if not any(kind(there.st_mode) for kind in kinds):
            yield None
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError:
        yield None
        return
    try:
        yield fd if os.path.samestat(there, os.fstat(fd)) else None
    finally:
        os.close(fd)


def _mapped(fd: int) -> int | None:
    """Remove the guest's attributes from a file; return the mode among them, or None."""
    try:
        names = [name for name in os.listxattr(fd) if name.startswith(_PREFIX)]
        mode = os.getxattr(fd, _MODE) if _MODE in names else None
        for name in names:
            os.removexattr(fd, name)
    except OSError:
        return None
    return int.from_bytes(mode, "little") if mode else None
