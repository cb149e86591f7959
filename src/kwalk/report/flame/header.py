# SPDX-License-Identifier: MIT
"""Header of flame graphs: facts, ledger and timelines, for ``page`` and ``svg``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.report import headings, summary
from kwalk.report.calls import Bar, bars
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


def _left_out(profile: ProfileData, options: ReportOptions) -> list[str]:
    """Return a line about the stacks that ``--top`` leaves out, if any."""
    _, others = last(profile.counts, options.top)
    if not others:
        return []
    calls = counted(sum(Counts.of(others).calls), profile.summary.unit)
    return [f"left out by --top: {plural(len(others), 'stack')}, {calls}, in no frame below"]


def header(profile: ProfileData, options: ReportOptions, room: Room[float] | None = None) -> Header:
    """Return the header for the flame graph of a recording.

    :param room: Limit of frames that its trees were built with: it has the stacks left out.
    """
    room = Room() if room is None else room
    found = profile.summary
    lines = [line.strip() for line in summary.as_text(found).splitlines()]
    if profile.sampled:
        calls = counted(round(profile.calls), found.unit)
        lines.append(f"scaled: the recorded stacks stand for about {calls}")
    return Header(
        title=options.title or found.function,
        facts=[row for row in facts(profile) if row[1] != (options.title or found.function)],
        ledger=lines + _left_out(profile, options) + room.told(abs, found.unit),
        timelines=[("", bars(profile))] if profile.timeline.ends else [],
        unit=found.unit,
        machine=headings.told(profile, "machine"),
    )


def facts(profile: ProfileData) -> list[tuple[str, str]]:
    """Return the known facts of a recording as pairs of name and text."""
    found = profile.summary
    duration = f"{profile.seconds:.1f} s" if profile.seconds else ""
    round_ = "about " if profile.sampled else ""
    rows = [
        ("traced", found.function),
        ("method", f"{found.method} by {found.attach}"),
        ("kernel", found.kernel),
        ("merged", headings.told(profile, "merged")),
        ("started", headings.told(profile, "started")),
        ("seconds", headings.told(profile, "seconds")),
        ("duration", duration),
        ("recorded", f"{round_}{counted(profile.calls, found.unit)}"),
        ("stacks", f"{len(profile.columns.met_stacks):,}"),
        ("CPUs", headings.told(profile, "cpus")),
        ("command", headings.told(profile, "command")),
        ("kwalk", headings.told(profile, "kwalk")),
    ]
    return [(name, text) for name, text in rows if text]
