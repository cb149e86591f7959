# SPDX-License-Identifier: MIT
"""A part of a profile: some of its stacks, groups or frames. Plain data in, plain data out."""

from __future__ import annotations

import re
from array import array
from dataclasses import replace

from kwalk.decode.shape import Shape
from kwalk.profile import Profile, added_up
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

    What is not wanted is in the ledger as ``other_callers`` or ``other_groups``: it still closes.

    :param through: As in ``Shape``.
    :param until: As in ``Shape``.
    :param group: Only groups in whose name, as it is shown, this finds something.
    :param apart: Whether groups stay apart; else a stack has one count.
    """
    shape = Shape(lambda stack: [frame.name for frame in stack.frames], through, until)
    ledger = replace(profile.summary.ledger, lost=dict(profile.summary.ledger.lost))
    wanted: list[Count] = []
    places: list[int] = []  # of each count, among those that are wanted
    for count in profile:
        ledger.record(count.stack, -count.count)
        stack = None
        if group and not (count.group and group.search(str(count.group))):
            ledger.lose("other_groups", count.count)
        elif stack := shape.stack(count.stack):
            ledger.record(stack, count.count)
        else:
            ledger.lose("other_callers", count.count)
        places.append(len(wanted) if stack else _NOWHERE)
        if stack:
            wanted.append(replace(count, stack=stack, group=count.group if apart else None))
    found, rows = added_up(wanted)
    hottest_last = sorted(range(len(found)), key=lambda row: found[row].calls)
    moved = {row: place for place, row in enumerate(hottest_last)}
    to = array("I", (moved[rows[n]] if n != _NOWHERE else _NOWHERE for n in places))
    timeline = profile.whole_timeline()
    timeline = replace(timeline, counts=array("I", map(to.__getitem__, timeline.counts)))
    return replace(
        profile,
        counts=[found[row] for row in hottest_last],
        summary=replace(profile.summary, ledger=ledger),
        timeline=timeline.only(lambda index: index != _NOWHERE),
    )
