# SPDX-License-Identifier: MIT
"""Load and save recordings by file name."""

from __future__ import annotations

import os
from typing import BinaryIO

from kwalk.errors import NO_NAME, KwalkError, UsageError
from kwalk.model.profile import ProfileData
from kwalk.recording.reader import read
from kwalk.recording.replay import replay
from kwalk.support.atomic_file import Replacement

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def load(path: Path) -> ProfileData:
    """Return the profile of a recording.

    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is not a recording.
    """
    path = _name(path)
    try:
        with _opened(path) as file:
            return read(file, path)
    except OSError as error:
        raise KwalkError(
            f"{path} cannot be read: {error.strerror}",
            "See whether you may read it."
            if isinstance(error, PermissionError)
            else "Give the file that `kwalk record -o` or `Profile.save()` wrote.",
        ) from error


def save(profile: ProfileData, path: Path) -> None:
    """Write a recording with mode 0600, since it holds addresses of the kernel.

    :raises KwalkError: if the file cannot be written, or the profile exceeds a limit.
    """
    path = _name(path)
    if not path:
        raise KwalkError("'' cannot be written: it is not a file name", "Give the name of a file.")
    with Replacement(path, private=True) as file:
        replay(profile, file.write)
        file.finish()


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except ValueError as error:
        what = f"{path!r} cannot be read: {NO_NAME}"
        raise KwalkError(what, "Give the name of a file.") from error


def _name(path: object) -> str:
    """Return a path as text."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise UsageError(
            f"{path!r:.100} is not a path", "Give the name of a file, as text, bytes or a path."
        )
    return os.fsdecode(path)
