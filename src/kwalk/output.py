# SPDX-License-Identifier: MIT
"""Standard output, without Python's buffer between: what has been written has been written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kwalk.errors import OutputError


def encoded(text: str) -> bytes:
    """Return text as UTF-8; what is none of it, as in names of files, becomes a question mark."""
    return text.encode(errors="replace")


def close_output() -> None:
    """Let Python's own flush at exit go nowhere: it would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def write(text: str) -> bool:
    """Write to standard output at once; like ``write_pieces``."""
    return write_pieces([encoded(text)])


def write_pieces(pieces: Sequence[bytes]) -> bool:
    """Write all of them to standard output; return False if nobody reads it any more.

    :raises OutputError: if it cannot be written for another reason.
    """
    # One copy of many pieces; writev() would have the kernel take each by itself, at a higher cost.
    rest = memoryview(b"".join(pieces))
    try:
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
    except BrokenPipeError:
        close_output()
        return False
    except OSError as error:
        close_output()
        raise OutputError(error) from error
    return True
