# SPDX-License-Identifier: MIT
"""Errors of recordings."""

from kwalk.errors import KwalkError


class BrokenRecording(KwalkError):
    """The file is not a recording, or not one that this version can read."""


class Broken(Exception):
    """A block is not whole, or exceeds a limit; the text says why."""


class TooLarge(KwalkError, ValueError):
    """The profile is larger than a recording can be."""
