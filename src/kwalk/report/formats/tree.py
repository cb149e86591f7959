# SPDX-License-Identifier: MIT
"""Call tree for a terminal, then the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kwalk.model.profile import ProfileData
from kwalk.report import summary
from kwalk.report.ansi import Paint, bar, fitted
from kwalk.report.calltree import CallNode, build
from kwalk.report.frame_limits import Room
from kwalk.report.outline import Line, outline, paths_to_top
from kwalk.report.style import ReportOptions
from kwalk.support.printable import plain
from kwalk.support.text import counted, plural

BAR = 6
SHARE = 8
OWN = "ending here"


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the lines of the tree, then the summary.

    Shares are of all recorded hits, hidden or not.
    """
    room = Room[float]()
    top = build(profile.counts, options.callers, room)
    if top.total:
        yield from _Drawing(profile, options, top).lines()
    for text in room.told(abs, profile.summary.unit):
        yield f"({plain(text)})\n\n"
    yield summary.as_text(profile.summary)


def stacks(nodes: Iterable[CallNode]) -> int:
    """Return the number of stacks (distinct by names) that end at these nodes or below."""
    number, waiting = 0, list(nodes)
    while waiting:
        node = waiting.pop()
        number += node.own > 0
        waiting += node.children.values()
    return number


class _Drawing:
    """Lines of a call tree, with the widths of its columns."""

    def __init__(self, profile: ProfileData, options: ReportOptions, top: CallNode) -> None:
        self._top = top
        self._whole = profile.calls  # stacks beyond the limit of frames included
        self._unit = profile.summary.unit
        self._options = options
        self._paint = Paint(options.color)
        least = options.smallest
        self._least = least
        self._told = (0, "")
        found = outline(
            top, CallNode.hottest, _wanted(top, options, least * self._whole), self._matters
        )
        self._rows = list(found)
        self._inner = any(row.node and row.node.own and row.node.children for row in self._rows)
        self._width = max(len(f"{round(self._whole):,}"), len(self._unit)) + 1
        self._own = max(self._width, len(OWN)) + 1
        self._blank = " " * (self._width + self._own * self._inner + SHARE + 2 + BAR + 1)

    def lines(self) -> Iterator[str]:
        """Yield the title, the head, the rows, and a line about hidden branches."""
        if self._options.title:
            yield self._paint(self._options.title, "bold") + "\n\n"
        yield self._head()
        hidden: list[CallNode] = []
        for line in self._rows:
            hidden += line.hidden
            yield self._line(line).rstrip() + "\n"
        yield "\n"
        if hidden:
            yield self._paint(self._left_out(hidden), "dim") + "\n\n"

    def _matters(self, hidden: list[CallNode]) -> bool:
        """Return whether hidden branches are large enough to change the shares shown."""
        return sum(node.total for node in hidden) >= 0.0005 * self._whole

    def _head(self) -> str:
        own = f"{OWN:>{self._own}}" if self._inner else ""
        text = f"{self._unit:>{self._width}}{own}{'share':>{SHARE}}"
        return self._paint(text, "dim") + "\n"

    def _line(self, line: Line[CallNode]) -> str:
        paint, node = self._paint, line.node
        if node is None:
            total = sum(found.total for found in line.hidden)
            lead, text = self._fitted(line.lead, f"… {plural(stacks(line.hidden), 'more stack')}")
            return f"{paint(self._numbers(total, 0), 'dim')}{'':{BAR}} {paint(lead + text, 'dim')}"
        front = self._blank
        if self._tells(line, node):
            own = node.own if node.children else 0
            front = f"{self._numbers(node.total, own)}{self._bar(node.total)} "
        lead, name = self._fitted(line.lead, plain(node.name))
        traced = line.above is None and not line.lead if self._options.callers else node.own
        return front + paint(lead, "dim") + (paint(name, "bold") if traced else name)

    def _fitted(self, lead: str, name: str) -> tuple[str, str]:
        if not self._options.terminal:
            return lead, name
        return fitted(lead, name, self._options.width - len(self._blank))

    def _tells(self, line: Line[CallNode], node: CallNode) -> bool:
        """Return whether a line needs numbers: not if they repeat those above in the same chain."""
        number, share = round(node.total), f"{100 * node.total / self._whole:.1f}"
        same = line.above is not None and self._told[1] == share
        if same and (not node.own or (self._told[0] == number and not node.children)):
            return False
        self._told = number, share
        return True

    def _numbers(self, total: float, own: float) -> str:
        """Return the columns in front of the tree."""
        text = f"{round(total):>{self._width},}"
        if self._inner:
            text += f"{round(own):>{self._own},}" if own else " " * self._own
        share = total / self._whole
        return text + f"{100 * share:>{SHARE - 2}.1f} %  "

    def _bar(self, total: float) -> str:
        share = total / self._whole
        style = "red" if share >= 0.5 else "yellow" if share >= 0.1 else "green"
        return self._paint(bar(share, BAR), style)

    def _left_out(self, hidden: list[CallNode]) -> str:
        """Return a line about the hidden stacks, and the option that hides them."""
        calls = sum(node.total for node in hidden)
        why = f"in branches with less than {100 * self._least:g} %; --min 0 shows them"
        if self._options.top:
            why = "left out by --top" + " and --min" * bool(self._least)
        return (
            f"({plural(stacks(hidden), 'stack')}, {counted(round(calls), self._unit)}, "
            f"{100 * calls / self._whole:.1f} %, {why})"
        )


def _wanted(top: CallNode, options: ReportOptions, limit: float) -> Callable[[CallNode], bool]:
    """Return the predicate for branches that get lines of their own.

    :param limit: Least number of hits of such a branch.
    """
    if options.top is None:
        return lambda node: node.total >= limit
    marked = paths_to_top(top, CallNode.hottest, lambda node: node.own, options.top)
    return lambda node: id(node) in marked and node.total >= limit
