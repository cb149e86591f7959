# SPDX-License-Identifier: MIT
"""Flame graphs as still pictures: self-contained SVG without scripts."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator

from kwalk.report.calltree import CallNode
from kwalk.report.flame import colors
from kwalk.report.flame.header import Header
from kwalk.report.frame_limits import MOST_DRAWN
from kwalk.report.html import escape
from kwalk.support.text import counted, plural

WIDTH = 1200
ROW = 17
LEAST = 0.25
"""Least width of a frame in pixels; the caption counts narrower ones."""
MOST_LINES = 200
"""Most lines of a caption, before wrapping."""

_EDGE = 10
_LETTER = 0.61  # width of a letter / font size, of common monospace fonts, rounded up
_SMALL, _CAPTION, _TITLE = 11, 12, 17

_STYLE = f"""
text {{ font: {_SMALL}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
 fill: #14110a; }}
rect {{ stroke: #fff; stroke-width: .5; }}
.caption, .soft {{ font-size: {_CAPTION}px; }} .soft {{ fill: #59636e; }}
.title {{ font-size: {_TITLE}px; font-weight: bold; }}
"""


def drawing(tree: CallNode, header: Header, *, callers: bool = False) -> Iterator[str]:
    """Yield the pieces of the picture.

    :param tree: Tree to draw; the caller builds it inverted for ``callers``.
    :param callers: Draw the root at the top (icicle graph), not at the bottom.
    """
    frames = _Frames(tree, header.machine)
    caption = _caption(header, frames, tree)
    legend = _legend(frames.kinds)
    top = _EDGE + _TITLE + 6 + (_CAPTION + 4) * len(caption) + 12
    height = top + ROW * frames.rows + (_CAPTION + 16) + _EDGE
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(header.title)}</title>\n<style>{_STYLE}{_colors(frames.kinds)}</style>\n"
        f'<path d="M0 0h{WIDTH}v{height}H0z" fill="#fff"/>\n'
        f'<text class="title" x="{_EDGE}" y="{_EDGE + _TITLE}">'
        f"{escape(fitting(header.title, WIDTH - 2 * _EDGE, _TITLE))}</text>\n"
    )
    for index, line in enumerate(caption):
        y = _EDGE + _TITLE + 6 + (_CAPTION + 4) * (index + 1)
        kind = "caption" if line in header.ledger[:1] else "soft"
        yield f'<text class="{kind}" x="{_EDGE}" y="{y}">{escape(line)}</text>\n'
    for node, left, width, row in frames.drawn:
        y = top + ROW * (row if callers else frames.rows - 1 - row)
        if row:
            share = f"{100 * node.total / tree.total:.1f} %"
            title = f"{node.name}: {counted(node.total, header.unit)}, {share}"
            yield _frame(
                node.name, title, f"{frames.kind(node)}{colors.shade(node.name)}", left, width, y
            )
        else:
            title = f"all: {counted(node.total, header.unit)}"
            yield _frame(title, title, "all0", left, width, y)
    x = float(_EDGE)
    y = top + ROW * frames.rows + _CAPTION + 6
    for kind, what in legend:
        yield (
            f'<rect class="{kind}1" x="{x:.0f}" y="{y - 10}" width="12" height="12"/>'
            f'<text class="soft" x="{x + 17:.0f}" y="{y}">{escape(what)}</text>\n'
        )
        x += 17 + _CAPTION * _LETTER * len(what) + 22
    yield "</svg>\n"


class _Frames:
    """Layout of the frames, the hottest sibling at the left.

    :ivar drawn: Nodes with left edge and width in pixels, and row.
    :ivar left_out: Number of frames too narrow to draw.
    :ivar narrowest: Lower bound of the widths drawn, in pixels.
    """

    def __init__(self, tree: CallNode, machine: str) -> None:
        self._machine = machine
        self.drawn: list[tuple[CallNode, float, float, int]] = []
        self.left_out = 0
        self.narrowest = LEAST
        scale = (WIDTH - 2 * _EDGE) / tree.total if tree.total > 0 else 0.0
        waiting = [(tree, float(_EDGE), 0)]
        while waiting:
            node, left, row = waiting.pop()
            width = node.total * scale
            if row and width < LEAST:
                self.left_out += _size(node)
                continue
            self.drawn.append((node, left, width or WIDTH - 2.0 * _EDGE, row))
            for child in node.hottest():
                waiting.append((child, left, row + 1))
                left += child.total * scale
        self._keep_widest()
        self.rows = 1 + max(row for *_, row in self.drawn)
        self.kinds = {self.kind(node) for node, _, _, row in self.drawn if row}

    def kind(self, node: CallNode) -> str:
        """Return the kind of a frame, a key of ``colors.KINDS``."""
        return node.kind or colors.kind_of(node.name, self._machine)

    def _keep_widest(self) -> None:
        """Keep the ``MOST_DRAWN`` widest frames; among equals, those nearer to the root."""
        if len(self.drawn) <= MOST_DRAWN:
            return
        order = sorted(self.drawn, key=lambda frame: (-frame[2], frame[3]))
        self.left_out += len(order) - MOST_DRAWN
        self.narrowest = order[MOST_DRAWN - 1][2]
        self.drawn = order[:MOST_DRAWN]


def _size(node: CallNode) -> int:
    size, waiting = 0, [node]
    while waiting:
        size += 1
        waiting += waiting.pop().children.values()
    return size


def _frame(name: str, title: str, kind: str, left: float, width: float, y: int) -> str:
    text = fitting(name, width - 6, _SMALL)
    label = f'<text x="{left + 3:.1f}" y="{y + 12}">{escape(text)}</text>' if text else ""
    return (
        f'<g><title>{escape(title)}</title><rect class="{kind}" '
        f'x="{left:.2f}" y="{y}" width="{width:.2f}" height="{ROW}"/>{label}</g>\n'
    )


def fitting(text: str, width: float, size: float) -> str:
    """Return a text cut to ``width`` pixels, or "" if fewer than three letters would be left.

    :param size: Font size in pixels.
    """
    room = int(width / (size * _LETTER))
    longer, text = text[room + 1 :], text[: room + 1]  # each letter takes a column at least
    if not longer and _columns(text) <= room:
        return text
    while text and _columns(text) > room - 1:
        text = text[:-1]
    return text + "\N{HORIZONTAL ELLIPSIS}" if len(text) > 2 else ""


def _columns(text: str) -> int:
    """Return the width of a text in columns: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _caption(header: Header, frames: _Frames, tree: CallNode) -> list[str]:
    """Return the lines below the title: facts, ledger, and the number of frames not drawn."""
    letters = int((WIDTH - 2 * _EDGE) / (_CAPTION * _LETTER))
    facts = [""]
    for name, text in header.facts:
        text = text[: letters * MOST_LINES]
        if facts[-1] and _columns(f"{facts[-1]} | {name}: {text}") > letters:
            facts.append("")
        facts[-1] += f"{' | ' if facts[-1] else ''}{name}: {text}"
    lines = [*facts, *header.ledger]
    if not tree.total:
        lines.append("no stacks: there is nothing to draw")
    if frames.left_out:
        most = f" (or of that width, beyond {MOST_DRAWN:,})" * (frames.narrowest > LEAST)
        lines.append(
            f"frames narrower than {frames.narrowest:.3g} pixels are not drawn{most}: "
            f"{frames.left_out:,}; "
            f"their {header.unit} are in the frames around them"
        )
    # A recording made by others can have millions of notes; kwalk's have few.
    more = len(lines) - MOST_LINES
    if more > 0:
        lines[MOST_LINES:] = [f"and {plural(more, 'more line')}, which `kwalk info` shows"]
    long = letters * MOST_LINES
    lines = [line if len(line) <= long else f"{line[:long]} ..." for line in lines]
    return [part for line in lines for part in textwrap.wrap(line, letters)]


def _legend(kinds: set[str]) -> list[tuple[str, str]]:
    return [(kind, found.what) for kind, found in colors.KINDS.items() if kind in kinds]


def _colors(kinds: set[str]) -> str:
    return f".all0 {{ fill: {colors.color('all', 1)}; }}\n" + "".join(
        f".{kind}{number} {{ fill: {colors.color(kind, number)}; }}\n"
        for kind in colors.KINDS
        if kind in kinds
        for number in range(colors.SHADES)
    )
