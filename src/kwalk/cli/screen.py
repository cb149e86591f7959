# SPDX-License-Identifier: MIT
"""What standard output looks like to those who read it: colours, and how much fits into a line."""

from __future__ import annotations

import os
import shutil
import sys

# Of what is no terminal, and of terminals that do not know.
_SIZE = 100, 24
_WHOLE = 1000


def colors() -> bool:
    """Whether to use colours: on a terminal that has some, unless NO_COLOR is there, not empty."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def whole(least: int) -> int:
    """Return the columns of a terminal; so many that no line is broken, where it is none."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return width(least) if known else _WHOLE


def width(least: int) -> int:
    """Return the columns of standard output, or of ``COLUMNS``.

    :param least: What is drawn needs so many.
    """
    return max(least, shutil.get_terminal_size(_SIZE).columns)
