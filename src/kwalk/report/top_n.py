# SPDX-License-Identifier: MIT
"""What ``--top`` leaves, for formats that hold nothing but stacks: the others become one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from kwalk.model.builder import ProfileBuilder
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Frame, Stack

_Row = TypeVar("_Row")
LEFT_OUT = "[left out by --top]"


def last(rows: Sequence[_Row], top: int | None) -> tuple[Sequence[_Row], Sequence[_Row]]:
    """Return the ``top`` last rows, which are the hottest, and the others; all where it is None."""
    first = max(0, len(rows) - top) if top else 0
    return rows[first:], rows[:first]


def cut(profile: ProfileData, top: int | None) -> ProfileData:
    """Return a profile of the hottest stacks, and one of each group for all others.

    So sums stay what they were: those of groups, those of intervals. What stands for the others
    comes first, however much it is.

    :param top: How many stacks are kept; None for all.
    """
    kept, others = last(profile.counts, top)
    if not others:
        return profile
    stack = Stack((0,), frames=(Frame(LEFT_OUT, 0, "", 0),))
    builder = ProfileBuilder()
    builder.add([replace(count, stack=stack) for count in others] + [*kept], profile.timeline)
    counts, timeline = builder.build(rarest_first=False)
    return replace(profile, counts=counts, timeline=timeline)
