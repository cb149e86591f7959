# SPDX-License-Identifier: MIT
"""Recordings as they are named on a command line."""

from __future__ import annotations

import sys

from kwalk.profile import Profile
from kwalk.recording import files, reader


def load(name: str) -> Profile:
    """Return what was recorded.

    :param name: Of a file; ``-`` is standard input.
    :raises KwalkError: as ``recording.files.load``.
    """
    return reader.read(sys.stdin.buffer, "standard input") if name == "-" else files.load(name)
