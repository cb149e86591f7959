# SPDX-License-Identifier: MIT
"""Recordings as they are named on a command line."""

from __future__ import annotations

import sys

from kwalk.errors import KwalkError
from kwalk.profile import Profile
from kwalk.recording import files, reader

_HINT = "Give the name of a file, or send a recording there: kwalk record -o - | kwalk report -."


def load(name: str) -> Profile:
    """Return what was recorded.

    :param name: Of a file; ``-`` is standard input.
    :raises KwalkError: as ``recording.files.load``.
    """
    if name != "-":
        return files.load(name)
    if sys.stdin is None:
        raise KwalkError("standard input is closed", _HINT)
    try:
        return reader.read(sys.stdin.buffer, "standard input")
    except OSError as error:
        raise KwalkError(f"standard input cannot be read: {error.strerror}", _HINT) from error
