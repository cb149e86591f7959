# SPDX-License-Identifier: MIT
"""Count until it is time to stop, with what was counted in between printed at intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kwalk.cli.running import Finished, Stopper, detach, tend
from kwalk.engine.capture import Capture
from kwalk.support.stdio import Printer

if TYPE_CHECKING:  # what is not needed before something is traced
    from kwalk.engine.budget import Budget
    from kwalk.model.ledger import Summary
    from kwalk.model.profile import ProfileData
    from kwalk.model.stack import Count, Group, Stack
    from kwalk.report.count import CountReport

    _Before = dict[tuple[Stack, Group | None], int]

LOOK_SECONDS = 0.5


def since(before: _Before, counts: list[Count]) -> list[Count]:
    """Return what was counted since the last call, the rarest first; ``before`` is brought on."""
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
    stopper: Stopper,
    duration: float | None = None,
    interval: float | None = None,
    tend: Callable[[], bool] = lambda: True,
    started: float | None = None,
) -> Iterator[float]:
    """Sleep until told to stop; yield the length of each interval when it has passed, in seconds.

    Where what is done with one takes longer than an interval, those that it missed are one.

    :param duration: Stop after this many seconds.
    :param tend: Is called twice a second; stop when it returns False.
    :param started: When the first interval began (CLOCK_MONOTONIC, in seconds); None is now.
    """
    last = started = time.monotonic() if started is None else started
    end = math.inf if duration is None else started + duration
    step = math.inf if interval is None else interval
    due = started + step
    while not stopper.stopped and (now := time.monotonic()) < end:
        if now < due:
            stopper.wait(min(end, due, now + LOOK_SECONDS) - now)
            if not tend():
                break
            continue
        yield now - last
        last, due = now, now + step - (now - due) % step


def run(
    capture: Capture,
    stopper: Stopper,
    report: CountReport,
    duration: float | None = None,
    interval: float | None = None,
    budget: Budget | None = None,
    conclude: Callable[[Summary], None] = lambda summary: None,
) -> Finished:
    """Wait until told to stop, then detach and print what was counted.

    :param duration: Stop after this many seconds.
    :param interval: Print what was counted each time so many seconds have passed.
    :param budget: What to keep to.
    :param conclude: Adds to the summary.
    """
    before: _Before = {}
    covered = 0.0
    printer = Printer()
    held: list[Count] = []
    keep = partial(tend, capture, budget)
    end = math.inf if duration is None else capture.started + duration
    for length in intervals(stopper, duration, interval, keep, capture.started):
        counts = since(before, capture.counts())
        covered += length
        text = report.interval(counts, length, time.time())
        if not printer.write(text, lambda stalled: stopper.goes_on(end)):
            held = counts
            break
    profile = finish(capture, conclude)
    if printer.complete("", stopper.patient):  # the rest of what was held up
        held = []
    rest, length = since(before, profile.counts), capture.seconds - covered
    untold = [*held, *rest]
    # What came after the last whole interval.
    if interval and printer.open and (rest or length > interval / 2):
        text = report.interval(rest, length, time.time())
        untold = [] if printer.complete(text, stopper.patient) else untold
    if not printer.complete(report.end(profile), stopper.patient):
        lose(profile, untold)
    return Finished(profile.summary, printer.failed)


def lose(profile: ProfileData, counts: list[Count]) -> None:
    """Count as lost what could not be printed.

    :param counts: A part of the profile's.
    """
    ledger = profile.summary.ledger
    for count in counts:
        ledger.record(count.stack, -count.count)
        ledger.lose("output_closed", count.count)


def finish(capture: Capture, conclude: Callable[[Summary], None]) -> ProfileData:
    """Detach, and return all that was counted.

    :param conclude: Adds to the summary.
    """
    from kwalk.model.profile import ProfileData

    detach(capture)
    counts, summary = capture.counts(), capture.summary()
    conclude(summary)
    return ProfileData(counts, summary)
