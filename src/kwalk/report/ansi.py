# SPDX-License-Identifier: MIT
"""Colours and bars for lines that are put together by hand: there may be many thousands."""

from __future__ import annotations

from functools import cache

from kwalk.support.printable import plain

BLOCKS = " ▏▎▍▌▋▊▉"


class Paint:
    """Gives text a style, where colours are wanted; else leaves it as it is."""

    def __init__(self, color: bool) -> None:
        self._color = color

    def __call__(self, text: str, style: str) -> str:
        """Return the text, cleaned, in a style of rich, such as ``bold red``."""
        text = plain(text)
        if not self._color or not text.strip():
            return text
        before, after = _codes(style)
        return before + text + after


@cache
def _codes(style: str) -> tuple[str, str]:
    """Return what stands before and after a text; of the 16 colours that the user has chosen."""
    from rich.color import ColorSystem
    from rich.style import Style

    before, _, after = (
        Style.parse(style).render("\0", color_system=ColorSystem.STANDARD).partition("\0")
    )
    return before, after


def bar(share: float, width: int) -> str:
    """Return a bar for a share from 0 to 1, filled up with blanks.

    What is not nothing has a mark at least.
    """
    eighths = min(max(round(share * width * 8), int(share > 0)), width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (BLOCKS[part] if part else "")).ljust(width)


def shortened(text: str, width: int) -> str:
    """Return the text, cut off where it is longer than ``width`` columns, with a mark of that."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def trimmed(text: str) -> str:
    """Return the text without blanks at the ends of its lines, as rich leaves them."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


NAME_ROOM = 20


def fitted(lead: str, name: str, width: int) -> tuple[str, str]:
    """Return what leads to a name in a tree, and the name, cut to fit into ``width`` columns.

    Of a deep tree the outer branches are left out, so that some of each name is to be seen.
    """
    over = len(lead) + min(len(name), NAME_ROOM) - max(width, 0)
    if over > 0 and lead:
        lead = "…" + lead[over + 1 :]
    return lead, shortened(name, width - len(lead))
