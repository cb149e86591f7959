# SPDX-License-Identifier: MIT
"""Comparison of the helper with the walk, as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kwalk.model.comparison import Comparison, FramePair, Pair, Sides, by_kind, events_of
from kwalk.report.compare import text as compare
from kwalk.report.frame import frame_text
from kwalk.report.html import file, page
from kwalk.report.summary import CAUSES, kind_of
from kwalk.support.text import counted

_ARROW = "\N{RIGHTWARDS ARROW}"


def as_html(comparison: Comparison, top: int = 10, addresses: bool = False) -> str:
    """Return the HTML page.

    :param top: Most frequent pairs of stacks of each kind to show.
    :param addresses: Show the address of each frame.
    """
    return page(
        "compare.html",
        f"kwalk compare: {comparison.function}",
        file("templates/compare.css") + _widths(comparison),
        heading=compare.title(comparison),
        subtitle=compare.subtitle(comparison),
        verdicts=[text.replace(compare.MARK, _ARROW) for text in compare.verdicts(comparison)],
        costs=[
            (name, compare.cost_text(cost, comparison))
            for name, cost in zip(Sides._fields, comparison.costs, strict=True)
            if cost
        ],
        kinds=list(_kinds(comparison, top, addresses)),
        ledger=list(_ledger(comparison)),
        notes=compare.notes(comparison),
    )


def _widths(comparison: Comparison) -> str:
    """Return the style of the bars that show the cost of an event by each method."""
    most = max((cost.each for cost in comparison.costs if cost), default=0.0) or 1.0
    return "".join(
        f"b.{name} {{ width: {100 * cost.each / most:.2f}%; }}\n"
        for name, cost in zip(Sides._fields, comparison.costs, strict=True)
        if cost
    )


def _kinds(comparison: Comparison, top: int, addresses: bool) -> Iterator[dict[str, Any]]:
    """Yield the pairs of each kind; the page opens the first of them."""
    for kind, pairs in by_kind(comparison).items():
        counts = [(pair, counted(number, comparison.unit)) for pair, number in pairs[:top]]
        yield {
            "heading": compare.heading(kind, events_of(pairs), comparison),
            "pairs": [
                {"count": count, "cells": list(_cells(pair, count, addresses))}
                for pair, count in counts
            ],
            "left_out": compare.left_out(pairs[top:], comparison.unit),
        }


def _cells(pair: Pair, count: str, addresses: bool) -> Iterator[tuple[str, str, str]]:
    """Yield the cells of a pair's two columns, row by row: side, class and text."""
    for row in pair.rows():
        yield from _row(row, bool(pair.helper and pair.manual), addresses)
    ends = [compare.end_text(stack, pair.cause) for stack in pair[:2]]
    if any(ends):
        for side, end in zip("hm", ends, strict=True):
            yield side, "end" if end else "end none", end
    for side, text in zip("hm", compare.number_texts(pair, count), strict=True):
        yield side, "foot", text


def _row(row: FramePair, compared: bool, addresses: bool) -> Iterator[tuple[str, str, str]]:
    """Yield the two cells of a row of frames.

    :param compared: Both sides have a stack.
    """
    lone = "has" if row.missed else "past" if compared else "alone"
    for side, frame in zip("hm", row[:2], strict=True):
        kind = "both" if row.helper and row.manual else lone
        if frame is None:
            kind = "gap" if row.missed else "none"
        yield side, kind, frame_text(frame, addresses) if frame else ""


def _ledger(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the rows of the ledgers' table; each has a number a method."""
    ledgers = comparison.ledgers

    def row(name: str, numbers: list[int], why: str = "") -> dict[str, Any]:
        return {"name": name, "why": why, "numbers": [f"{number:,}" for number in numbers]}

    yield row("hits", [ledger.hits for ledger in ledgers])
    yield row("stacks", [ledger.recorded for ledger in ledgers])
    causes = sorted({cause for ledger in ledgers for cause in ledger.causes})
    for cause in causes:
        numbers = [ledger.causes.get(cause, 0) for ledger in ledgers]
        yield row(f"{kind_of(cause)}: {cause}", numbers, CAUSES.get(cause, cause))
    if not causes:
        yield row("lost", [0, 0])
    marks = {
        "truncated: stacks that go on below their last frame": [
            ledger.truncated for ledger in ledgers
        ],
        "fallback: stacks from the kernel's unwinder": [ledger.fallback for ledger in ledgers],
        "unexplained (a bug of kwalk; please report it)": [ledger.balance for ledger in ledgers],
    }
    for name, numbers in marks.items():
        if any(numbers):
            yield row(name, numbers)
