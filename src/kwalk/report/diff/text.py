# SPDX-License-Identifier: MIT
"""Comparison of two recordings as text: changed functions, then stacks, the largest change last."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.report.ansi import Paint
from kwalk.report.diff import common as words
from kwalk.report.diff.change import Change, Diff
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last
from kwalk.support.printable import plain
from kwalk.support.text import plural

FUNCTIONS = 10
"""Default of ``--top`` for functions."""


def render(diff: Diff, options: ReportOptions, every: bool = False) -> Iterator[str]:
    """Yield the changes, the verdict, then warnings and summaries.

    :param every: Show insignificant changes, too.
    """
    paint = Paint(options.color)
    if options.title:
        yield paint(options.title, "bold") + "\n\n"
    yield words.head(diff, paint) + "\n"
    yield from _functions(diff, options, every, paint)
    shown, left = last(_changed(diff.stacks, every), options.top)
    if left:
        yield paint(f"({plural(len(left), 'more stack')} that changed, left out by --top)", "dim")
        yield "\n\n"
    if shown:
        yield "stacks, the largest change last\n\n"
    for change in shown:
        yield _stack(change, diff, paint)
    yield words.verdict(diff, every)
    yield words.foot(diff, paint)


def _changed(changes: list[Change], every: bool) -> list[Change]:
    return [found for found in changes if found.certain or (every and found.kind != "same")]


def _functions(diff: Diff, options: ReportOptions, every: bool, paint: Paint) -> Iterator[str]:
    """Yield a table of the most changed functions; functions of the same stacks share a line."""
    most = options.top or (None if every else FUNCTIONS)
    shown, left = last(_changed(diff.functions, every), most)
    if not shown:
        return
    yield f"functions, by {plain(diff.unit)} that lead through them\n"
    yield paint(f"{'before':>11}{'after':>11}{'change':>11}", "dim") + "\n"
    if left:
        names = sum(len(change.names) for change in left)
        option = "" if options.top else "; --top N shows more"
        yield paint(f"  ({plural(names, 'more function')} changed less{option})", "dim") + "\n"
    for change in shown:
        before, after, moved, percent = _texts(change, diff)
        front = f"{before:>11}{after:>11}"
        moved = f"{moved:>11}{percent:>10}  "
        room = options.width - len(front) - len(moved) if options.terminal else None
        yield front + paint(moved, words.style(change.change)) + _names(change, room) + "\n"
    yield "\n"


def _names(change: Change, room: int | None) -> str:
    """Return the names that fit into ``room`` columns, at least one, and ``+N`` for the others."""
    names = list(map(plain, change.names))
    while len(text := ", ".join(names) + _more(change, names)) > (room or len(text)):
        if len(names) == 1:
            break
        names.pop()
    return text


def _more(change: Change, names: list[str]) -> str:
    left = len(change.names) - len(names)
    return f" +{left}" if left else ""


def _texts(change: Change, diff: Diff) -> tuple[str, str, str, str]:
    """Return the cells of a row: before, after, change, change in percent."""
    return (
        words.number(change.before, diff.by),
        words.number(change.after, diff.by),
        words.signed(change.change, diff.by),
        words.percentage(change.before, change.after),
    )


def _stack(change: Change, diff: Diff, paint: Paint) -> str:
    """Return a block: the frames, the traced function first, and the change."""
    lines = [f"    {plain(name)}\n" for name in reversed(change.names)]
    moved = (
        f"{words.signed(change.change, diff.by)} ({words.percentage(change.before, change.after)})"
    )
    before, after = words.number(change.before, diff.by), words.number(change.after, diff.by)
    chance = "" if change.certain else "  no more than chance explains"
    group = f"  {plain(change.group)}" if change.group else ""
    lines.append(
        f"  {before} -> {after} {plain(diff.unit)}, {paint(moved, words.style(change.change))}"
        f"{chance}{group}\n\n"
    )
    return "".join(lines)
