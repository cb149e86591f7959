# SPDX-License-Identifier: MIT
"""Colours and line width of standard output."""

from __future__ import annotations

import os
import shutil
import sys

# Default for files, and for terminals of unknown size.
_SIZE = 100, 24
_WHOLE = 1000


def colors() -> bool:
    """Whether to use colours: on a terminal that has them, unless NO_COLOR is set and not empty."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def whole(least: int) -> int:
    """Return the columns of a terminal; for other outputs, enough that no line is wrapped."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return width(least) if known else _WHOLE


def width(least: int) -> int:
    """Return the columns of standard output, or of ``COLUMNS``.

    :param least: Minimum.
    """
    return max(least, shutil.get_terminal_size(_SIZE).columns)
