# SPDX-License-Identifier: MIT
"""Recordings by the names of their files."""

from __future__ import annotations

import os
import sys

from kwalk.errors import KwalkError, OutputError
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
            f"{path} cannot be read: {error.strerror}", "`kwalk record` makes recordings."
        ) from error


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a recording; a file changes all at once, or not at all.

    :raises OutputError: if it cannot be written.
    """
    path = os.path.realpath(path)
    special = os.path.exists(path) and not os.path.isfile(path)  # a device, a pipe
    aside = path if special else f"{path}.{os.getpid()}.new"
    try:
        with open(aside, "wb") as file:
            try:
                replay(profile, file.write)
                file.close()
                if not special:
                    os.replace(aside, path)
            except BaseException:
                if not special:
                    os.unlink(aside)
                raise
    except OSError as error:
        raise OutputError(error, path) from error
