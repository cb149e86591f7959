# SPDX-License-Identifier: MIT
"""What is wrong with a recording."""

from kwalk.errors import KwalkError


class BrokenRecording(KwalkError):
    """A file that is no recording, or not one that this version can read."""


class Broken(Exception):
    """A block that is not whole, or more than a limit allows; its text says what is wrong."""


class TooLarge(KwalkError, ValueError):
    """A profile that no recording can hold."""
