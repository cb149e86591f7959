# SPDX-License-Identifier: MIT
"""Comparison of two recordings as a call tree: before, after and change of each branch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kwalk.report.ansi import Paint, fitted
from kwalk.report.diff import common as words
from kwalk.report.diff.change import Change, Diff, DiffNode
from kwalk.report.frame_limits import Room
from kwalk.report.outline import Line, outline, paths_to_top
from kwalk.report.style import LEAST, ReportOptions
from kwalk.support.printable import plain
from kwalk.support.text import plural


def render(diff: Diff, options: ReportOptions, every: bool = False) -> Iterator[str]:
    """Yield the tree, the verdict, then warnings and summaries.

    :param every: Show branches without a significant change, too.
    """
    paint = Paint(options.color)
    if options.title:
        yield paint(options.title, "bold") + "\n\n"
    yield words.head(diff, paint) + "\n"
    yield from _Drawing(diff, options, every, paint).lines()
    yield words.verdict(diff, every)
    yield words.foot(diff, paint)


class _Drawing:
    """Lines of a tree of changes, with the widths of its columns."""

    def __init__(self, diff: Diff, options: ReportOptions, every: bool, paint: Paint) -> None:
        self._diff = diff
        self._options = options
        self._paint = paint
        self._room = Room[Change]()
        self._top = diff.tree(options.callers, self._room)
        least = options.smallest
        self._share = least
        self._told = ("", "")
        whole = diff.total.before, diff.total.after
        self._whole = max(whole)
        wanted = _wanted(self._top, options, least * self._whole, every)
        self._rows = list(outline(self._top, DiffNode.most_changed, wanted, self._matters))
        longest = max(len(words.number(value, diff.by)) for value in whole)
        self._width = max(longest, len("before")) + 1
        self._blank = " " * (2 * self._width + self._width + 1 + 10 + 2)

    def lines(self) -> Iterator[str]:
        """Yield the head, the rows, and a line about hidden branches."""
        hidden: list[DiffNode] = []
        width = self._width
        columns = f"{'before':>{width}}{'after':>{width}}{'change':>{width + 1}}"
        yield self._paint(f"{columns}{'':12}{self._diff.unit}", "dim") + "\n"
        for row in self._rows:
            hidden += row.hidden
            yield self._line(row).rstrip() + "\n"
        yield "\n"
        if changed := sum(node.changed for node in hidden):
            yield self._paint(self._left_out(changed), "dim") + "\n\n"
        for text in words.no_room(self._diff, self._room):
            yield self._paint(f"({plain(text)})", "dim") + "\n\n"

    def _left_out(self, changed: int) -> str:
        """Return a line about the hidden stacks that changed, and the option that hides them."""
        unit = self._diff.before.profile.summary.unit
        what = f"{100 * self._share:g} % of all {unit}"
        why = f"in branches where less than {what} changed; --min 0 shows them"
        if self._options.top:
            why = "left out by --top" + " and --min" * bool(self._share)
        return f"({plural(changed, 'stack')} that changed, {why})"

    def _matters(self, hidden: list[DiffNode]) -> bool:
        """Return whether hidden branches are large enough for a line where they branch off."""
        return max(sums(hidden)) >= LEAST * self._whole

    def _line(self, line: Line[DiffNode]) -> str:
        paint, node = self._paint, line.node
        if node is None:
            before, after = sums(line.hidden)
            stacks = sum(found.stacks for found in line.hidden)
            front = "".join(self._numbers(before, after))
            lead, text = self._fitted(line.lead, f"… {plural(stacks, 'more stack')}", front)
            return paint(front + lead + text, "dim")
        change = words.moved(node.before, node.total)
        # Colour it only if more than half of the change is of significantly changed stacks.
        colored = change and node.net / change > 0.5
        told, moved = self._numbers(node.before, node.total)
        front = self._blank
        if line.above is None or (told, moved) != self._told:
            front = told + (paint(moved, words.style(change)) if colored else moved)
        self._told = told, moved
        lead, name = self._fitted(line.lead, plain(node.name), self._blank)
        kind = words.percentage(node.before, node.total)
        if kind in ("new", "gone"):
            name = paint(name, words.style(change) if colored else "none")
        return front + paint(lead, "dim") + name

    def _fitted(self, lead: str, name: str, front: str) -> tuple[str, str]:
        if not self._options.terminal:
            return lead, name
        return fitted(lead, name, self._options.width - len(front))

    def _numbers(self, before: float, after: float) -> tuple[str, str]:
        """Return the columns in front of the tree: before and after, then the change."""
        by, width = self._diff.by, self._width
        values = f"{words.number(before, by):>{width}}{words.number(after, by):>{width}}"
        moved = words.signed(words.moved(before, after), by)
        return values, f"{moved:>{width + 1}}{words.percentage(before, after):>10}  "


def sums(nodes: Iterable[DiffNode]) -> tuple[float, float]:
    """Return the sums of ``before`` and ``total``."""
    found = list(nodes)
    return sum(node.before for node in found), sum(node.total for node in found)


def _wanted(
    top: DiffNode, options: ReportOptions, least: float, every: bool
) -> Callable[[DiffNode], bool]:
    """Return the predicate for branches that get lines of their own."""

    def large(node: DiffNode) -> bool:
        if every:
            return max(node.before, node.total) >= least
        return bool(node.changed) and node.moved >= least

    if options.top is None:
        return large

    def weight(node: DiffNode) -> float:
        return abs(node.own - node.own_before) if every else node.own_moved

    marked = paths_to_top(top, DiffNode.most_changed, weight, options.top)
    return lambda node: id(node) in marked and large(node)
