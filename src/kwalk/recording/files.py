# SPDX-License-Identifier: MIT
"""Recordings by the names of their files."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from kwalk.errors import KwalkError
from kwalk.profile import Profile
from kwalk.recording.reader import read
from kwalk.recording.replay import replay


def load(path: str | os.PathLike[str]) -> Profile:
    """Return what was recorded.

    :param path: ``-`` is standard input.
    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is no recording.
    """
    path = os.fspath(path)
    if path == "-":
        return read(sys.stdin.buffer, "standard input")
    try:
        with open(path, "rb") as file:
            return read(file, path)
    except OSError as error:
        raise KwalkError(
            f"{path} cannot be read: {error.strerror}",
            "See whether you may read it."
            if isinstance(error, PermissionError)
            else "Give the file that `kwalk record -o` or `Profile.save()` wrote.",
        ) from error


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a recording; a file changes all at once, or not at all.

    What is no file, such as a device or a pipe, is written to as it is.

    :raises KwalkError: if it cannot be written.
    """
    path = os.path.realpath(path)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                replay(profile, file.write)
        else:
            _replace(profile, path)
    except OSError as error:
        raise KwalkError(f"{path} cannot be written: {error.strerror}", _hint(error)) from error


def _replace(profile: Profile, path: str) -> None:
    """Write a file beside, then put it in the place of the one that is there.

    :raises OSError: if it cannot be written, or something that is no file has come there meanwhile.
    """
    aside = f"{path}.{os.getpid()}.new"
    try:
        with open(aside, "wb") as file:
            replay(profile, file.write)
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "it is no file any more", path)
        os.replace(aside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def _hint(error: OSError) -> str:
    """Return what to do where a recording cannot be written."""
    if isinstance(error, FileNotFoundError):
        return "Make the folder first, or give a file in one that is there."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return "Give a file where you may write."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Give a file where there is room."
    return "Give another file."
