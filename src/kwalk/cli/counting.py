# SPDX-License-Identifier: MIT
"""Count until told to stop; print the counts of each interval."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kwalk.cli.tracing import Finished, TracingSession
from kwalk.support.stdio import Printer

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.model.profile import ProfileData
    from kwalk.model.stack import Count, Group, Stack
    from kwalk.report.count import CountReport

    _Before = dict[tuple[Stack, Group | None], int]


def since(before: _Before, counts: Sequence[Count]) -> Sequence[Count]:
    """Return the counts since the last call in ascending order, and update ``before``."""
    from kwalk.model.stack import Count

    new = []
    for count in counts:
        key = count.stack, count.group
        number = count.count - before.get(key, 0)
        before[key] = count.count
        if number:
            new.append(Count(count.stack, number, count.group))
    return sorted(new, key=lambda count: count.count)


def intervals(
    session: TracingSession, duration: float | None = None, interval: float | None = None
) -> Iterator[float]:
    """Sleep until told to stop; yield the length of each interval in seconds when it ends.

    If the consumer takes longer than an interval, the intervals that it missed are merged.

    :param duration: Stop after this many seconds.
    """
    last = session.capture.started
    step = math.inf if interval is None else interval
    due = last + step

    def next_look(now: float) -> float:
        return due

    for now in session.looks(session.end(duration), next_look):
        if now >= due:
            yield now - last
            last, due = now, now + step - (now - due) % step


def run(
    session: TracingSession,
    report: CountReport,
    duration: float | None = None,
    interval: float | None = None,
) -> Finished:
    """Count until told to stop, then detach and print the total.

    :param duration: Stop after this many seconds.
    :param interval: Print the counts of each interval of this many seconds.
    """
    capture, stopper = session.capture, session.stopper
    before: _Before = {}
    covered = 0.0
    printer = Printer()
    held: Sequence[Count] = []
    end = session.end(duration)
    for length in intervals(session, duration, interval):
        counts = since(before, capture.counts())
        covered += length
        text = report.interval(counts, length, time.time())
        if not printer.write(text, lambda stalled: stopper.goes_on(end)):
            held = counts
            break
    profile = session.finish()
    if printer.complete("", stopper.patient):  # output that a slow reader had not taken
        held = []
    rest, length = since(before, profile.counts), capture.seconds - covered
    untold = [*held, *rest]
    # Hits after the last whole interval.
    if interval and printer.open and (rest or length > interval / 2):
        text = report.interval(rest, length, time.time())
        untold = [] if printer.complete(text, stopper.patient) else untold
    if not printer.complete(report.end(profile), stopper.patient):
        lose(profile, untold)
    return Finished(profile.summary, printer.failed)


def lose(profile: ProfileData, counts: Sequence[Count]) -> None:
    """Move counts that could not be printed from *recorded* to ``output_closed``.

    :param counts: Part of the profile's counts.
    """
    ledger = profile.summary.ledger
    for count in counts:
        ledger.record(count.stack, -count.count)
        ledger.lose("output_closed", count.count)
