# SPDX-License-Identifier: MIT
"""Lines of styled text, and the characters that they are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kwalk.tui.labels import Marks

Span = tuple[str, str]
"""Style name and text."""
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
    """Character set to draw with.

    :ivar bars: Bars from empty to full.
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
# kwalk's own characters, each one column wide.
_NARROW = dict.fromkeys(map(ord, "←…⋯▁▂▃▄▅▆▇█─▾▸·▏"), "x")


def cells(text: str) -> int:
    """Return the width of a text in columns."""
    if text.isascii() or text.translate(_NARROW).isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, cut: str) -> str:
    """Pad or cut a text to exactly ``width`` columns."""
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
    """Cut a line to at most ``width`` columns."""
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
    """Return a line's text without styles."""
    return "".join(text for _, text in line)


def paint(line: Line, colors: bool) -> str:
    """Return a line as text, with SGR sequences if ``colors`` is set."""
    if not colors:
        return text_of(line)
    return "".join(f"\x1b[{_SGR[style]}m{text}\x1b[m" if style else text for style, text in line)


def bars(values: Sequence[float], look: Look) -> str:
    """Return a bar character per value, scaled to the highest value."""
    most = max(values, default=0.0)
    if not most:
        return look.bars[0] * len(values)
    top = len(look.bars) - 1
    # Rounded up: every value above 0 is visible.
    return "".join(look.bars[-int(-value * top // most)] for value in values)
