# SPDX-License-Identifier: MIT
"""Recordings by the names of their files."""

from __future__ import annotations

import sys

from kwalk.errors import KwalkError
from kwalk.profile import Profile
from kwalk.recording.reader import read


def load(path: str) -> Profile:
    """Return what was recorded.

    :param path: ``-`` is standard input.
    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is no recording.
    """
    if path == "-":
        return read(sys.stdin.buffer, "standard input")
    try:
        with open(path, "rb") as file:
            return read(file, path)
    except OSError as error:
        raise KwalkError(
            f"{path} cannot be read: {error.strerror}", "`kwalk record` makes recordings."
        ) from error
