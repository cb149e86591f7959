# SPDX-License-Identifier: MIT
"""What standard output looks like to those who read it: colours, and how much fits into a line."""

from __future__ import annotations

import os
import shutil
import sys

# Of what is no terminal, and of terminals that do not know.
_SIZE = 100, 24


def colors() -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is there and not empty."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def width(least: int) -> int:
    """Return the columns of standard output, or of ``COLUMNS``.

    :param least: What is drawn needs so many.
    """
    return max(least, shutil.get_terminal_size(_SIZE).columns)
