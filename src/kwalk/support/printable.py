# SPDX-License-Identifier: MIT
"""Text for people, without what a terminal would obey: control, escape and bidi characters."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, redirect_stderr
from typing import IO, Any

# What is printed without a second look: most text is ASCII.
_HARMLESS = re.compile(r"[\n\t -~]*")
# A style (Select Graphic Rendition), as ``report.paint`` sets it.
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")


def plain(text: str, instead: str = "?", kept: str = "") -> str:
    """Return text that stays on its line: without characters that cannot be printed.

    :param instead: What stands for each of them.
    :param kept: Those that may stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else instead for c in text)


def plain_lines(text: str, styles: bool = False) -> str:
    """Return text whose characters can all be printed, but for line feeds and tabs.

    :param styles: Leave colours as they are: what comes from elsewhere has been through ``plain``.
    """
    if _HARMLESS.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n")
    if styles:
        parts = _STYLE.split(text)
        parts[::2] = (plain(part, kept="\n\t") for part in parts[::2])
        return "".join(parts)
    return plain(text, kept="\n\t")


class CleanStream:
    """A text stream that prints only what ``plain_lines`` leaves; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, cleaned."""
        self._stream.write(plain_lines(text))
        return len(text)

    def writelines(self, texts: Any) -> None:
        """Write texts, cleaned."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def clean_stderr() -> AbstractContextManager[Any]:
    """Return a context in which all that is printed on ``sys.stderr`` is cleaned."""
    stream: Any = sys.stderr
    return redirect_stderr(stream if isinstance(stream, CleanStream) else CleanStream(stream))
