# SPDX-License-Identifier: MIT
"""A part of a profile: some seconds, stacks, groups or frames. Plain data in, plain data out.

What is left out stays in the ledger, as not wanted: it still closes.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import replace

from kwalk.decode.shape import Shape
from kwalk.errors import UsageError
from kwalk.ledger import Ledger
from kwalk.profile import Profile, Timeline, added_up
from kwalk.stack import Count

_NOWHERE = (1 << 32) - 1


def narrow(
    profile: Profile,
    through: re.Pattern[str] | None = None,
    until: re.Pattern[str] | None = None,
    group: re.Pattern[str] | None = None,
    apart: bool = True,
) -> Profile:
    """Return what is wanted of it; it is not changed.

    :param through: As in ``Shape``.
    :param until: As in ``Shape``.
    :param group: Only groups in whose name, as it is shown, this finds something.
    :param apart: Whether groups stay apart; else a stack has one count.
    """
    shape = Shape(lambda stack: [frame.name for frame in stack.frames], through, until)
    ledger = _copy(profile)
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
    return _of(profile, wanted, profile.whole_timeline(), ledger)


def between(profile: Profile, start: float, end: float) -> Profile:
    """Return what was counted in the intervals that lie between two times, even if in part.

    Where not every call was taken, a stack's calls are shared out by what was taken.

    :param start: In seconds since the capture began, as ``end``.
    :raises UsageError: if it is not known when anything was counted, or there is no such time.
    """
    timeline = profile.whole_timeline()
    starts = [0.0, *timeline.ends[:-1]]
    if not profile.seconds:
        raise UsageError(
            "it is not known when the calls came: there is no timeline",
            "Recordings of the manual method have one; leave the seconds out for this one.",
        )
    kept = [
        index
        for index, (first, last) in enumerate(zip(starts, timeline.ends, strict=True))
        if last > start and first < end
    ]
    if not kept:
        raise UsageError(
            f"it ends after {profile.seconds:.1f} seconds", "Give seconds within that time."
        )
    first, last = kept[0], kept[-1]
    numbers = [0] * len(profile)
    rows = [row for row in timeline.rows() if first <= row[0] <= last]
    for _, index, number in rows:
        numbers[index] += number
    ledger = _copy(profile)
    wanted: list[Count | None] = []
    for count, number in zip(profile, numbers, strict=True):
        ledger.record(count.stack, number - count.count)
        ledger.lose("other_seconds", count.count - number)
        scaled = count.scaled
        if scaled is not None and count.count:
            scaled *= number / count.count
        wanted.append(replace(count, count=number, scaled=scaled) if number else None)
    part = Timeline(
        [end - starts[first] for end in timeline.ends[first : last + 1]],
        array("I", (interval - first for interval, _, _ in rows)),
        array("I", (index for _, index, _ in rows)),
        array("q", (number for _, _, number in rows)),
    )
    return _of(profile, wanted, part, ledger)


def _copy(profile: Profile) -> Ledger:
    ledger = profile.summary.ledger
    return replace(ledger, lost=dict(ledger.lost))


def _of(
    profile: Profile, wanted: Sequence[Count | None], timeline: Timeline, ledger: Ledger
) -> Profile:
    """Return a profile of the counts that there are, the rarest first.

    :param wanted: For each of the profile's counts, what has become of it.
    :param timeline: Of the profile's counts.
    """
    found, rows = added_up(count for count in wanted if count)
    order = sorted(range(len(found)), key=lambda row: found[row].calls)
    place = {row: index for index, row in enumerate(order)}
    row = iter(rows)
    places = array("I", (place[next(row)] if count else _NOWHERE for count in wanted))
    moved = replace(timeline, counts=array("I", map(places.__getitem__, timeline.counts)))
    return replace(
        profile,
        counts=[found[row] for row in order],
        summary=replace(profile.summary, ledger=ledger),
        timeline=moved.only(lambda index: index != _NOWHERE),
    )
