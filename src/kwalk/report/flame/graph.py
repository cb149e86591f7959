# SPDX-License-Identifier: MIT
"""What flame graphs are drawn from: trees of frames, and what stands above them.

``page.page`` makes the interactive page of it, ``svg.drawing`` the still picture.
Both take plain data, so that they draw recordings and differences between recordings alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count
from kwalk.report import calltree, headings, summary
from kwalk.report.calls import Bar, bars
from kwalk.report.calltree import CallNode
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last
from kwalk.support.text import counted, plural


@dataclass(frozen=True)
class Header:
    """What stands above a flame graph: everything that its reader has to know of it.

    :ivar title: The heading, such as the name of the function.
    :ivar facts: Pairs of a name and a text: method, kernel, when, ...
    :ivar ledger: One line each: hits = recorded + lost first, then causes, notes; for
        a difference, those of both recordings.
    :ivar timelines: Pairs of a label and bars, for each recording that has them.
    :ivar unit: What is drawn, such as ``calls``.
    :ivar counted: What the timelines are of; "" where that is the unit.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    ledger: Sequence[str] = ()
    timelines: Sequence[tuple[str, Sequence[Bar]]] = ()
    unit: str = "calls"
    counted: str = ""


def trees(counts: Sequence[Count], room: Room[Count] | None = None) -> dict[str, CallNode]:
    """Return a tree for each group, by its name ("" for none), the hottest first.

    :param room: Of all of them together.
    """
    room = Room() if room is None else room
    groups: dict[str, list[Count]] = {}
    for count in room.ordered(counts, calltree.frames_of, calltree.calls_of):
        name = str(count.group) if count.group else ""
        groups.setdefault(name, []).append(dataclasses.replace(count, group=None))
    # The groups share the room: those of the hottest stacks come first.
    built = {name: calltree.build(rows, room=room) for name, rows in groups.items()}
    found = {name: tree for name, tree in built.items() if tree.total}
    return dict(sorted(found.items(), key=lambda item: (-item[1].total, item[0])))


def shown(profile: ProfileData, options: ReportOptions) -> tuple[Sequence[Count], list[str]]:
    """Return what ``--top`` leaves of the counts, and a line about the others."""
    kept, others = last(profile.counts, options.top)
    if not others:
        return kept, []
    calls = counted(sum(count.calls for count in others), profile.summary.unit)
    return kept, [
        f"left out by --top: {plural(len(others), 'stack')}, {calls}, which no frame below contains"
    ]


def header(profile: ProfileData, options: ReportOptions, room: Room[Count] | None = None) -> Header:
    """Return what stands above the flame graph of a recording.

    :param room: Of its trees, which are made.
    """
    room = Room() if room is None else room
    found = profile.summary
    lines = [line.strip() for line in summary.as_text(found).splitlines()]
    if any(count.scaled is not None for count in profile):
        calls = counted(round(profile.calls), found.unit)
        lines.append(f"scaled: the stacks taken stand for about {calls}")
    return Header(
        title=options.title or found.function,
        facts=[row for row in facts(profile) if row[1] != (options.title or found.function)],
        ledger=lines + shown(profile, options)[1] + room.told(calltree.calls_of, found.unit),
        timelines=[("", bars(profile))] if profile.timeline.ends else [],
        unit=found.unit,
    )


def facts(profile: ProfileData) -> list[tuple[str, str]]:
    """Return what is known of a recording, by name."""
    found = profile.summary
    duration = f"{profile.seconds:.1f} s" if profile.seconds else ""
    round_ = "about " if any(count.scaled is not None for count in profile) else ""
    rows = [
        ("traced", found.function),
        ("method", f"{found.method} by {found.attach}"),
        ("kernel", found.kernel),
        ("merged", headings.told(profile, "merged")),
        ("started", headings.told(profile, "started")),
        ("seconds", headings.told(profile, "seconds")),
        ("duration", duration),
        ("recorded", f"{round_}{counted(profile.calls, found.unit)}"),
        ("stacks", f"{len({id(count.stack) for count in profile}):,}"),
        ("CPUs", headings.told(profile, "cpus")),
        ("command", headings.told(profile, "command")),
        ("kwalk", headings.told(profile, "kwalk")),
    ]
    return [(name, text) for name, text in rows if text]
