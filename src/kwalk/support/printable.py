# SPDX-License-Identifier: MIT
"""Sanitizing of text for terminals: no control, escape or bidi characters."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, redirect_stderr
from typing import IO, Any

# Fast path: most text is ASCII.
_HARMLESS = b"\n\t" + bytes(range(ord(" "), ord("~") + 1))
# An SGR (Select Graphic Rendition) sequence: colours and the like.
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")


def plain(text: str, instead: str = "?", kept: str = "") -> str:
    """Return text with its unprintable characters replaced, line feeds included.

    :param instead: The replacement of each.
    :param kept: Unprintable characters to keep.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else instead for c in text)


def plain_lines(text: str, styles: bool = False) -> str:
    """Return text with its unprintable characters replaced, except line feeds and tabs.

    :param styles: Keep SGR sequences; foreign parts of the text must have passed ``plain`` already.
    """
    if text.isascii() and not text.encode().translate(None, _HARMLESS):
        return text
    text = text.replace("\r\n", "\n")
    if styles:
        parts = _STYLE.split(text)
        parts[::2] = (plain(part, kept="\n\t") for part in parts[::2])
        return "".join(parts)
    return plain(text, kept="\n\t")


class CleanStream:
    """Text stream that sanitizes its output with ``plain_lines``; wraps another stream."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write sanitized text."""
        self._stream.write(plain_lines(text))
        return len(text)

    def writelines(self, texts: Any) -> None:
        """Write sanitized texts."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def clean_stderr() -> AbstractContextManager[Any]:
    """Return a context manager that sanitizes everything printed to ``sys.stderr``."""
    stream: Any = sys.stderr
    return redirect_stderr(stream if isinstance(stream, CleanStream) else CleanStream(stream))
