# SPDX-License-Identifier: MIT
"""Standard output, without Python's buffer between: what has been written has been written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import UnsupportedOperation
from typing import TextIO

from kwalk.errors import OutputError


def open_streams() -> None:
    """Open what a shell has closed (``>&-``): else the next file would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
    # Python has none for those that were closed; print() would turn from one to the other.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def settle(stream: TextIO) -> None:
    """Write what is left in a stream's buffer.

    Where that can't be, what follows, as Python's own flush at exit, goes nowhere.
    """
    try:
        stream.flush()
    except OSError:
        close(stream)


def close(stream: TextIO) -> None:
    """Let what is written to a stream from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def encoded(text: str) -> bytes:
    """Return text as UTF-8; what is none of it, as in names of files, becomes a question mark."""
    return text.encode(errors="replace")


def write(text: str) -> bool:
    """Write to standard output at once; like ``write_pieces``."""
    return write_pieces([encoded(text)])


def write_pieces(pieces: Sequence[bytes]) -> bool:
    """Write all of them to standard output; return False if nobody reads it any more.

    :raises OutputError: if it cannot be written for another reason.
    """
    # One copy of many pieces; writev() would have the kernel take each by itself, at a higher cost.
    data = b"".join(pieces)
    try:
        fd = sys.stdout.fileno()
    except UnsupportedOperation:  # something else stands in for it, within a program
        sys.stdout.write(data.decode())
        return True
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        close(sys.stdout)
        return False
    except OSError as error:
        close(sys.stdout)
        raise OutputError(error) from error
    return True
