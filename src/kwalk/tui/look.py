# SPDX-License-Identifier: MIT
"""Lines of styled text, and the characters that they are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kwalk.tui.labels import Marks

Span = tuple[str, str]
"""The name of a style, and text."""
Line = list[Span]

_SGR = {
    "": "",
    "title": "1",
    "strong": "1",
    "dim": "2",
    "head": "4",
    "rate": "36",
    "bars": "32",
    "key": "1",
    "warn": "1;31",
    "say": "33",
    "selected": "7",
}


class Look(NamedTuple):
    """The characters to draw with.

    :ivar bars: From nothing to the highest.
    """

    marks: Marks
    bars: str
    cut: str
    rule: str
    sorted: str
    chosen: str
    between: str


UNICODE = Look(Marks(" ← ", " … ", "⋯"), " ▁▂▃▄▅▆▇█", "…", "─", "▾", "▸", " · ")
ASCII = Look(Marks(" < ", " .. ", "***"), " .:-=+*#@", "~", "-", "v", ">", "; ")
# The characters of our own, each of which takes one column.
_NARROW = dict.fromkeys(map(ord, "←…⋯▁▂▃▄▅▆▇█─▾▸·▏"), "x")


def cells(text: str) -> int:
    """Return how many columns the text takes."""
    if text.isascii() or text.translate(_NARROW).isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, cut: str) -> str:
    """Return the text in exactly so many columns."""
    size = cells(text)
    if size == width:
        return text
    if size < width:
        return text + " " * (width - size)
    if text.isascii():
        return text[: width - len(cut)] + cut if width else ""
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - len(cut))) + cut[:width]


def cut(line: Line, width: int, mark: str) -> Line:
    """Return as much of the line as there is room for."""
    fitted: Line = []
    left = width
    for style, text in line:
        size = cells(text)
        if size > left:
            return [*fitted, (style, pad(text, left, mark))] if left else fitted
        fitted.append((style, text))
        left -= size
    return fitted


def text_of(line: Line) -> str:
    """Return the line without its styles."""
    return "".join(text for _, text in line)


def paint(line: Line, colors: bool) -> str:
    """Return the line as a terminal takes it."""
    if not colors:
        return text_of(line)
    return "".join(f"\x1b[{_SGR[style]}m{text}\x1b[m" if style else text for style, text in line)


def bars(values: Sequence[float], look: Look) -> str:
    """Return a character for each value; the highest of them is a whole block."""
    most = max(values, default=0.0)
    if not most:
        return look.bars[0] * len(values)
    top = len(look.bars) - 1
    # What is not nothing is seen to be there.
    return "".join(look.bars[-int(-value * top // most)] for value in values)
