# SPDX-License-Identifier: MIT
"""Tracks of a Perfetto trace: a process with a thread for each group, the ledger, counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Group
from kwalk.report import headings
from kwalk.report.calls import ScaledTimeline
from kwalk.report.calltree import FunctionNames, function_name
from kwalk.report.perfetto.packets import SEQUENCE, packet
from kwalk.report.protobuf import double, message, number, text
from kwalk.report.top_n import LEFT_OUT

# Ids of a made-up process, and of its first thread; 0 would be the idle task.
PID, TID = 1, 2
# Ids of tracks: process, ledger, first counter, first thread.
_PROCESS, _LEDGER, _COUNTERS, _THREADS = 1, 2, 10, 1000
# Most functions, or callers of a single traced function, with a counter of their own.
MOST_COUNTERS = 12


def tracks(profile: ProfileData, title: str, groups: Mapping[Group, int]) -> Iterator[bytes]:
    """Yield the descriptors of the process and of a thread for each group."""
    name = title or f"kwalk {profile.summary.function}"
    # child_ordering: EXPLICIT, by sibling_order_rank.
    yield _track(_PROCESS, message(3, number(1, PID), text(6, name)), number(11, 3))
    for group, thread in groups.items():
        what = message(4, number(1, PID), number(2, thread), text(5, str(group)))
        yield _track(_THREADS + thread, what)


def _track(uuid: int, *fields: bytes) -> bytes:
    return packet(number(10, SEQUENCE), message(60, number(1, uuid), *fields))


def _event(seconds: float, uuid: int, kind: int, *fields: bytes) -> bytes:
    """Return a track event; kinds: 1 slice begin, 2 slice end, 4 counter value."""
    event = message(11, number(9, kind), number(11, uuid), *fields)
    return packet(number(8, round(seconds * 1e9)), number(10, SEQUENCE), event)


def ledger(profile: ProfileData, found: ScaledTimeline) -> Iterator[bytes]:
    """Yield a slice over the whole time, named after hits = recorded + lost.

    Its arguments are the ledger's numbers by cause, and the lines of the summary.
    """
    lines = headings.lines(profile)
    notes = [_text(f"line {index:02}", line) for index, line in enumerate(lines, 1)]
    counted = profile.summary.ledger
    entries = [
        _number("hits", counted.hits),
        _number("recorded", counted.recorded),
        *(
            message(11, text(10, name), *(_number(*cause) for cause in causes.items()))
            for name, causes in (("not_wanted", counted.not_wanted), ("lost", counted.lost))
        ),
        _number("truncated", counted.truncated),
        _number("fallback", counted.fallback),
        _number("balance", counted.balance),
    ]
    numbers = message(4, text(10, "ledger"), *entries)
    yield _track(_LEDGER, text(2, "ledger"), number(5, _PROCESS))
    yield _event(0, _LEDGER, 1, text(23, lines[0]), numbers, *notes)
    yield _event(found.ends[-1], _LEDGER, 2)


def _number(name: str, value: int) -> bytes:
    """Return an entry of a dictionary argument."""
    return message(11, text(10, name), number(4, value))


def _text(name: str, value: str) -> bytes:
    """Return a string argument of an event."""
    return message(4, text(10, name), text(6, value))


def counters(profile: ProfileData, found: ScaledTimeline) -> Iterator[bytes]:
    """Yield counters of hits per second: of all hits, then of the hottest functions.

    These are the traced functions if there are several, else the direct callers. Without a timeline
    there are no counters.
    """
    if found.ends[-1] <= 0:
        return
    unit = profile.summary.unit
    names = _functions(profile)
    series = {f"all {unit}": found.totals()}
    for name in dict.fromkeys(filter(None, names)):
        series.setdefault(name, [0] * len(found.starts))
    unseen = [0] * len(found.starts)
    columns = [series[name] if name else unseen for name in names]
    for interval, index, calls in found.rows():
        columns[index][interval] += calls
    for order, (name, sums) in enumerate(series.items()):
        uuid = _COUNTERS + order
        counted = message(8, text(6, f"{unit}/s"))
        yield _track(uuid, text(2, name), number(5, _PROCESS), number(12, order), counted)
        for start, end, calls in zip(found.starts, found.ends, sums, strict=True):
            yield _event(start, uuid, 4, double(44, calls / (end - start) if end > start else 0.0))
        yield _event(found.ends[-1], uuid, 4, double(44, 0.0))


def _functions(profile: ProfileData) -> list[str]:
    """Return the name of the counter that each count adds to; "" for none."""
    counts = profile.columns
    stacks = [
        [frame for frame in stack.frames if not frame.inlined and frame.name != LEFT_OUT]
        for stack in counts.stacks
    ]
    met = set(counts.stack_of)
    inner = {(stacks[at][0].name, stacks[at][0].module) for at in met if stacks[at]}
    place = 0 if len(inner) > 1 else 1
    mark = "" if place == 0 else "called by "
    told = FunctionNames(lambda frame: mark + function_name(frame, source=False))
    names = [told.of(frames[place]) if len(frames) > place else "" for frames in stacks]
    sums: dict[str, float] = dict.fromkeys([*(names[at] for at in met), ""], 0)
    for index, calls in zip(counts.stack_of, counts.calls, strict=True):
        sums[names[index]] += calls
    del sums[""]
    wanted = set(sorted(sums, key=lambda name: (-sums[name], name))[:MOST_COUNTERS])
    shown = [name if name in wanted else "" for name in names]
    return list(map(shown.__getitem__, counts.stack_of))
