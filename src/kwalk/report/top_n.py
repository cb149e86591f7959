# SPDX-License-Identifier: MIT
"""The ``--top`` option: select the hottest rows, merge the other stacks into one."""

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
    """Split ascending rows into the ``top`` hottest and the others; None keeps all."""
    first = max(0, len(rows) - top) if top else 0
    return rows[first:], rows[:first]


def cut(profile: ProfileData, top: int | None) -> ProfileData:
    """Return a profile with all but the hottest stacks merged into ``LEFT_OUT``, one per group.

    Sums of groups and intervals are unchanged. The merged counts come first, whatever their size.

    :param top: Number of stacks to keep; None for all.
    """
    kept, others = last(profile.counts, top)
    if not others:
        return profile
    stack = Stack((0,), frames=(Frame(LEFT_OUT, 0, "", 0),))
    builder = ProfileBuilder()
    builder.add([replace(count, stack=stack) for count in others] + [*kept], profile.timeline)
    counts, timeline = builder.build(rarest_first=False)
    return replace(profile, counts=counts, timeline=timeline)
