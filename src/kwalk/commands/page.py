# SPDX-License-Identifier: MIT
"""The file of a page (``--html``): opened before tracing, written after."""

from __future__ import annotations

from typing import TextIO

from kwalk.errors import OutputError


def open_page(path: str) -> TextIO:
    """Open it before time is spent on what it is to hold.

    :raises OutputError: if it cannot be.
    """
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise OutputError(error, path) from error


def write_page(page: TextIO, text: str) -> None:
    """Write and close it.

    :raises OutputError: if it cannot be written.
    """
    try:
        with page:
            page.write(text)
    except OSError as error:
        raise OutputError(error, page.name) from error
