# SPDX-License-Identifier: MIT
"""Parts of a profile: by seconds, stacks, groups or frames. Plain data in, plain data out.

Hits that are left out become ``not_wanted`` in the ledger, which still closes.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import compress
from typing import Any, TypeVar

from kwalk.errors import UsageError
from kwalk.model.builder import ProfileBuilder
from kwalk.model.ledger import Ledger
from kwalk.model.profile import ProfileData, Timeline
from kwalk.model.stack import Count, also_called
from kwalk.model.stack_filter import Shape

_P = TypeVar("_P", bound=ProfileData)


def narrow(
    profile: _P,
    through: re.Pattern[str] | None = None,
    until: re.Pattern[str] | None = None,
    group: re.Pattern[str] | None = None,
    apart: bool = True,
) -> _P:
    """Return the selected part of a profile, which is not changed.

    :param through: See ``Shape``.
    :param until: See ``Shape``.
    :param group: Keep only groups whose displayed name matches this regex.
    :param apart: Whether to keep groups apart; else each stack has one count.
    """
    shape = Shape(
        lambda stack: [frame.name for frame in stack.frames],
        through,
        until,
        lambda stack: [also_called(frame.name) for frame in stack.frames],
    )
    ledger = profile.summary.ledger.copy()
    wanted: list[Count | None] = []
    for count in profile:
        ledger.record(count.stack, -count.count)
        stack = None
        if group and not (count.group and group.search(str(count.group))):
            ledger.lose("other_groups", count.count)
        elif stack := shape.stack(count.stack):
            ledger.record(stack, count.count)
        else:
            ledger.lose("other_callers", count.count)
        shown = replace(count, stack=stack, group=count.group if apart else None) if stack else None
        wanted.append(shown)
    return _of(profile, wanted, profile.checked_timeline(), ledger)


def between(profile: _P, start: float, end: float) -> _P:
    """Return the hits of the intervals whose middle lies between two times.

    Times of the part start at its first interval; ``facts["seconds"]`` names the original ones.
    Scaled calls of a stack are shared out by its recorded hits.

    :param start: In seconds since the capture began, as ``end``.
    :raises UsageError: if no interval lies there, or the timeline is not known.
    """
    timeline = profile.checked_timeline()
    begins = [0.0, *timeline.ends][:-1]
    kept = [
        index
        for index, times in enumerate(zip(begins, timeline.ends, strict=True))
        if start <= sum(times) / 2 < end
    ]
    if not kept or not profile.seconds:
        raise _no_interval(begins, timeline.ends, start)
    first, last = kept[0], kept[-1]
    wanted_rows = [first <= interval <= last for interval in timeline.intervals]
    intervals, counts, numbers = (
        array(column.typecode, compress(column, wanted_rows))
        for column in (timeline.intervals, timeline.counts, timeline.numbers)
    )
    sums = [0] * len(profile)
    for index, number in zip(counts, numbers, strict=True):
        sums[index] += number
    ledger = profile.summary.ledger.copy()
    wanted: list[Count | None] = []
    for count, number in zip(profile, sums, strict=True):
        ledger.record(count.stack, number - count.count)
        ledger.lose("other_seconds", count.count - number)
        scaled = count.scaled
        if scaled is not None and count.count:
            scaled *= number / count.count
        wanted.append(replace(count, count=number, scaled=scaled) if number else None)
    ends = [time - begins[first] for time in timeline.ends[first : last + 1]]
    intervals = array("I", (interval - first for interval in intervals))
    part = replace(profile, facts=_facts(profile, begins[first], timeline.ends[last]))
    return _of(part, wanted, Timeline(ends, intervals, counts, numbers), ledger)


def _no_interval(begins: Sequence[float], ends: Sequence[float], start: float) -> UsageError:
    if not ends or not ends[-1]:
        return UsageError("the recording has no timeline", "Leave the seconds out.")
    if start >= ends[-1]:
        return UsageError(f"it ends after {ends[-1]:.1f} seconds", "Give seconds before that.")
    within = next(index for index, time in enumerate(ends) if time > start)
    return UsageError(
        f"seconds {begins[within]:.1f} to {ends[within]:.1f} are a single interval",
        "Give a range that has its middle.",
    )


def _facts(profile: ProfileData, first: float, last: float) -> dict[str, Any]:
    """Return the facts of a part of the profile's time, from second ``first`` to ``last``."""
    facts = dict(profile.facts)
    facts["seconds"] = f"{first:.1f} to {last:.1f} of {profile.seconds:.1f}"
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        began = datetime.fromisoformat(facts["started"]) + timedelta(seconds=first)
        facts["started"] = began.isoformat(timespec="milliseconds")
    return facts


def _of(profile: _P, wanted: Sequence[Count | None], timeline: Timeline, ledger: Ledger) -> _P:
    """Return a profile of the wanted counts.

    :param wanted: For each of the profile's counts its successor, or None to drop it.
    :param timeline: Timeline whose rows index ``wanted``.
    """
    builder = ProfileBuilder()
    builder.add(wanted, timeline)
    counts, timeline = builder.build()
    return replace(
        profile,
        counts=counts,
        summary=replace(profile.summary, ledger=ledger),
        timeline=timeline,
    )
