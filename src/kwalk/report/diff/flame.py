# SPDX-License-Identifier: MIT
"""Differential flame graph as an HTML page: red for more hits than before, blue for fewer."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.report import headings
from kwalk.report.ansi import Paint
from kwalk.report.calls import bars
from kwalk.report.diff import common as words
from kwalk.report.diff.change import Change, Diff
from kwalk.report.flame.header import Header, facts
from kwalk.report.flame.page import page
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions


def render(diff: Diff, options: ReportOptions, every: bool = True) -> Iterator[str]:
    """Yield the page, with all stacks, significantly changed or not; ``every`` is ignored."""
    room = Room[Change]()
    tree = diff.tree(room=room)
    trees = tree.children if diff.grouped else {"": tree}
    yield from page(trees, _header(diff, options, room), change=True, callers=options.callers)


def _header(diff: Diff, options: ReportOptions, room: Room[Change]) -> Header:
    sides = [("before", diff.before), ("after", diff.after)]
    plain = Paint(False)
    text = (
        words.head(diff, plain) + words.verdict(diff, every=True) + "\n" + words.foot(diff, plain)
    )
    return Header(
        title=options.title or f"{diff.after.profile.summary.function}: before and after",
        facts=_facts(*(dict(facts(side.profile)) for _, side in sides)),
        ledger=[
            *(line.strip() for line in text.splitlines() if line.strip()),
            *words.no_room(diff, room),
        ],
        timelines=[
            (label, bars(side.profile)) for label, side in sides if side.profile.timeline.ends
        ],
        unit=diff.unit,
        counted=diff.after.profile.summary.unit,
        machine=headings.told(diff.after.profile, "machine"),
    )


def _facts(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str]]:
    """Return the facts of both recordings, ``before → after`` where they differ."""
    rows = []
    for name in ("method", "kernel", "started", "CPUs"):
        texts = before.get(name, ""), after.get(name, "")
        text = texts[0] if texts[0] == texts[1] else " \N{RIGHTWARDS ARROW} ".join(texts)
        rows.append((name, text))
    return [row for row in rows if row[1]]
