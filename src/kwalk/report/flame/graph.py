# SPDX-License-Identifier: MIT
"""Data of flame graphs: trees of frames, and the header above them.

``page.page`` draws them as an interactive page, ``svg.drawing`` as a still picture, for recordings
and for comparisons of recordings alike.
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
    """Header of a flame graph.

    :ivar title: Heading, such as the name of the function.
    :ivar facts: Pairs of name and text: method, kernel, start, ...
    :ivar ledger: Lines of the summary, hits = recorded + lost first; for a comparison, of both
        recordings.
    :ivar timelines: Pairs of label and bars, one for each recording with a timeline.
    :ivar unit: Unit of the widths, such as ``calls``.
    :ivar counted: Unit of the timelines; "" if it is ``unit``.
    :ivar machine: ``uname -m`` of the recorded machine; "" if unknown.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    ledger: Sequence[str] = ()
    timelines: Sequence[tuple[str, Sequence[Bar]]] = ()
    unit: str = "calls"
    counted: str = ""
    machine: str = ""


def trees(counts: Sequence[Count], room: Room[Count] | None = None) -> dict[str, CallNode]:
    """Return a tree for each group, by its name ("" for none), the hottest first.

    :param room: Limit of frames for all trees together.
    """
    room = Room() if room is None else room
    groups: dict[str, list[Count]] = {}
    for count in room.ordered(counts, calltree.frames_of, calltree.calls_of):
        name = str(count.group) if count.group else ""
        groups.setdefault(name, []).append(dataclasses.replace(count, group=None))
    # The groups share the limit; the group of the hottest stack comes first.
    built = {name: calltree.build(rows, room=room) for name, rows in groups.items()}
    found = {name: tree for name, tree in built.items() if tree.total}
    return dict(sorted(found.items(), key=lambda item: (-item[1].total, item[0])))


def shown(profile: ProfileData, options: ReportOptions) -> tuple[Sequence[Count], list[str]]:
    """Return the counts that ``--top`` keeps, and a line about the others, if any."""
    kept, others = last(profile.counts, options.top)
    if not others:
        return kept, []
    calls = counted(sum(count.calls for count in others), profile.summary.unit)
    return kept, [f"left out by --top: {plural(len(others), 'stack')}, {calls}, in no frame below"]


def header(profile: ProfileData, options: ReportOptions, room: Room[Count] | None = None) -> Header:
    """Return the header for the flame graph of a recording.

    :param room: Limit of frames that its trees were built with: it has the stacks left out.
    """
    room = Room() if room is None else room
    found = profile.summary
    lines = [line.strip() for line in summary.as_text(found).splitlines()]
    if any(count.scaled is not None for count in profile):
        calls = counted(round(profile.calls), found.unit)
        lines.append(f"scaled: the recorded stacks stand for about {calls}")
    return Header(
        title=options.title or found.function,
        facts=[row for row in facts(profile) if row[1] != (options.title or found.function)],
        ledger=lines + shown(profile, options)[1] + room.told(calltree.calls_of, found.unit),
        timelines=[("", bars(profile))] if profile.timeline.ends else [],
        unit=found.unit,
        machine=headings.told(profile, "machine"),
    )


def facts(profile: ProfileData) -> list[tuple[str, str]]:
    """Return the known facts of a recording as pairs of name and text."""
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
