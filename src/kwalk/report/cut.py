# SPDX-License-Identifier: MIT
"""What ``--top`` leaves, for formats that hold nothing but stacks: the others become one stack."""

from __future__ import annotations

from array import array
from dataclasses import replace

from kwalk.profile import Profile
from kwalk.stack import Count, Frame, Group, Stack

LEFT_OUT = "[left out by --top]"


def cut(profile: Profile, top: int | None) -> Profile:
    """Return a profile of the hottest stacks, and one of each group for all others.

    So sums stay what they were: those of groups, those of intervals. What stands for the others
    comes first, however much it is.

    :param top: How many stacks are kept; None for all.
    """
    first = max(0, len(profile.counts) - top) if top else 0
    if not first:
        return profile
    frame = Frame(LEFT_OUT, 0, "", 0)
    stack = Stack((0,), frames=(frame,))
    merged: dict[Group | None, Count] = {}
    place: dict[Group | None, int] = {}
    places = array("I")
    for count in profile.counts[:first]:
        group = count.group
        places.append(place.setdefault(group, len(place)))
        sofar = merged.get(group)
        if sofar is None:
            merged[group] = replace(count, stack=stack)
        else:
            merged[group] = sofar.plus(count)
    kept = profile.counts[first:]
    places.extend(range(len(merged), len(merged) + len(kept)))
    timeline = profile.timeline
    moved = array("I", map(places.__getitem__, timeline.counts))
    return replace(
        profile,
        counts=[*merged.values(), *kept],
        timeline=replace(timeline, counts=moved),
    )
