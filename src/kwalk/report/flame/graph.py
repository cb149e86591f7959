# SPDX-License-Identifier: MIT
"""What flame graphs are drawn from: trees of frames, and what stands above them.

``page.page`` makes the interactive page of it, ``svg.drawing`` the still picture.
Both take plain data, so that they draw recordings and differences between recordings alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count
from kwalk.report import calltree, headings, summary
from kwalk.report.flame.bars import Bar, bars
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last
from kwalk.support.text import counted, plural


@dataclass(slots=True)
class FlameNode:
    """A frame in its context, in a tree whose root stands for all.

    The traced function is a leaf, the outermost frame is a child of the root.

    :ivar name: As ``calltree.function_name`` gives it; the root's is not shown.
    :ivar total: Calls whose stacks lead through here; in a difference, of the later recording.
    :ivar before: In a difference: the same of the earlier recording, scaled by the caller such
        that the two can be compared. A frame that is new has 0; one that is gone has a total of 0.
    :ivar own: Calls, of ``total``, whose stacks end here. None: what it has beyond the sum of its
        children; that is exact where they are whole numbers, else rounding errors are taken off.
    :ivar kind: One of ``looks.KINDS``; "" where the name tells it.
    :ivar children: Each name once, in any order.
    """

    name: str
    total: float
    before: float = 0.0
    own: float | None = None
    kind: str = ""
    children: list[FlameNode] = field(default_factory=list)


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
    :ivar machine: ``uname -m`` where it was recorded; "" if that is not known.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    ledger: Sequence[str] = ()
    timelines: Sequence[tuple[str, Sequence[Bar]]] = ()
    unit: str = "calls"
    counted: str = ""
    machine: str = ""


def of_calltree(
    node: calltree.CallNode, groups: Collection[str] = (), callers: bool = False
) -> FlameNode:
    """Return a tree of ``calltree.build`` in the form that is drawn.

    :param groups: What of its names is no function but a group: the first one of a stack, or,
        where the callers come first, the last one.
    :param callers: The callers come first.
    """
    top = FlameNode(node.name, node.total, 0, node.own)
    # A recursion would be as deep as the stacks.
    waiting = [(node, top)]
    while waiting:
        node, drawn = waiting.pop()
        for child in node.children.values():
            outermost = child.own > 0 and not child.children if callers else drawn is top
            kind = "group" if outermost and child.name in groups else ""
            below = FlameNode(child.name, child.total, 0, child.own, kind)
            drawn.children.append(below)
            waiting.append((child, below))
    return top


def trees(counts: Sequence[Count], room: Room[Count] | None = None) -> dict[str, FlameNode]:
    """Return a tree for each group, by its name, the hottest first; "" is without a group.

    :param room: Of all of them together.
    """
    room = Room() if room is None else room
    groups: dict[str, list[Count]] = {}
    for count in room.ordered(counts, calltree.frames_of, calltree.calls_of):
        name = str(count.group) if count.group else ""
        groups.setdefault(name, []).append(dataclasses.replace(count, group=None))
    # The groups share the room: those of the hottest stacks come first.
    built = {name: calltree.build(rows, room=room) for name, rows in groups.items()}
    found = {name: of_calltree(tree) for name, tree in built.items() if tree.total}
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
        machine=headings.told(profile, "machine"),
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
