# SPDX-License-Identifier: MIT
"""Recordings by the names of their files."""

from __future__ import annotations

import os
import sys

from kwalk.errors import KwalkError
from kwalk.profile import Profile
from kwalk.recording.reader import read
from kwalk.recording.replay import replay
from kwalk.replacing import Replacement


def load(path: str | os.PathLike[str]) -> Profile:
    """Return what was recorded.

    :param path: ``-`` is standard input.
    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is no recording.
    """
    path = os.fspath(path)
    if path == "-":
        return _load_from_input()
    try:
        with open(path, "rb") as file:
            return read(file, path)
    except OSError as error:
        raise KwalkError(
            f"{path} cannot be read: {error.strerror}", "`kwalk record` makes recordings."
        ) from error


def _load_from_input() -> Profile:
    hint = "Give the name of a file, or send a recording there: kwalk record -o - | kwalk report -."
    if sys.stdin is None:
        raise KwalkError("standard input is closed", hint)
    try:
        return read(sys.stdin.buffer, "standard input")
    except OSError as error:
        raise KwalkError(f"standard input cannot be read: {error.strerror}", hint) from error


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a recording; a file changes all at once, or not at all.

    :raises OutputError: if it cannot be written.
    """
    with Replacement(path) as file:
        replay(profile, file.write)
        file.finish()
