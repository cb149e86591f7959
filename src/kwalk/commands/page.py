# SPDX-License-Identifier: MIT
"""The file of a page (``--html``): opened before tracing, written after."""

from __future__ import annotations

from typing import TextIO

from kwalk.errors import KwalkError, UsageError


def open_page(path: str) -> TextIO:
    """Open it before time is spent on what it is to hold.

    :raises UsageError: if it cannot be.
    """
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "Name another file for --html."
        ) from None


def write_page(page: TextIO, text: str) -> None:
    """Write and close it.

    :raises KwalkError: if it cannot be written.
    """
    try:
        with page:
            page.write(text)
    except OSError as error:
        raise KwalkError(
            f"{page.name} cannot be written: {error.strerror}",
            "Make room there; what was measured is printed above.",
        ) from None
