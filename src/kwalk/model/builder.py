# SPDX-License-Identifier: MIT
"""Rows of hits to the counts and the timeline of a profile.

The counts of every profile are added up and sorted here, and their timeline's rows moved along.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, count, islice, repeat
from operator import add, eq, le, mul
from typing import Generic, TypeVar

from kwalk.model.counts import Counts
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Group, Stack
from kwalk.support.memo import Numbers

_Key = TypeVar("_Key")


class Sums(Generic[_Key]):
    """Hits added up by key; keys are in the order in which they were added first."""

    def __init__(self) -> None:
        self._rows: dict[_Key, int] = {}
        self._counts: list[int] = []
        self._scaled: list[float | None] = []

    def add(self, key: _Key, count: int, scaled: float | None = None) -> int:
        """Add hits to a key, and return its row, counted from 0.

        :param count: Number of recorded hits.
        :param scaled: Calls that they stand for, as in ``Count``.
        """
        row = self._rows.setdefault(key, len(self._rows))
        if row == len(self._counts):
            self._counts.append(count)
            self._scaled.append(scaled)
            return row
        before = self._scaled[row]
        if scaled is not None or before is not None:
            calls = count if scaled is None else scaled
            self._scaled[row] = (self._counts[row] if before is None else before) + calls
        self._counts[row] += count
        return row

    def __iter__(self) -> Iterator[tuple[_Key, int, float | None]]:
        """Iterate over (key, number of hits, calls that they stand for or None)."""
        return zip(self._rows, self._counts, self._scaled, strict=True)


class ProfileBuilder:
    """Builds counts, each stack and group once, and the timeline of these counts.

    Counts are added together with the timeline whose rows index them, so no caller handles the
    places that counts get in the profile: a row stays with its stack and group.
    """

    def __init__(self) -> None:
        self._stacks: Numbers[Stack] = Numbers()
        self._groups: Numbers[Group | None] = Numbers()
        self._stack_of = array("I")
        self._group_of = array("I")
        self._numbers: list[int] = []
        self._scaled: list[float | None] = []
        self._timeline = Timeline()  # its rows index these columns

    def count(
        self, stack: Stack, group: Group | None, count: int, scaled: float | None = None
    ) -> None:
        """Add hits of a stack in a group.

        :param count: Number of recorded hits.
        :param scaled: Calls that they stand for, as in ``Count``.
        """
        self._stack_of.append(self._stacks[stack])
        self._group_of.append(self._groups[group])
        self._numbers.append(count)
        self._scaled.append(scaled)

    def add(self, counts: Sequence[Count | None], timeline: Timeline | None = None) -> None:
        """Add counts and, behind the intervals so far, their timeline.

        :param counts: Counts by stack and group, in any order; None drops a count and its rows.
        :param timeline: Timeline of exactly these counts (``Timeline.counts`` indexes ``counts``);
            None or empty: they have none.
        """
        columns = counts if isinstance(counts, Counts) else Counts.of(filter(None, counts))
        if timeline is not None:
            assert max(timeline.counts, default=-1) < len(counts), "a timeline row indexes no count"
            if len(columns) < len(counts):
                kept = [count is not None for count in counts]
                places = array("I", accumulate(kept, initial=0))
                timeline = timeline.only(kept)
                timeline = replace(timeline, counts=_moved(timeline.counts, places))
            self._append(timeline)
        stacks = array("I", map(self._stacks.__getitem__, columns.stacks))
        groups = array("I", map(self._groups.__getitem__, columns.groups))
        self._stack_of.extend(_moved(columns.stack_of, stacks))
        self._group_of.extend(_moved(columns.group_of, groups))
        self._numbers.extend(columns.numbers)
        self._scaled.extend(columns.scaled or repeat(None, len(columns)))

    def _append(self, more: Timeline) -> None:
        """Append a timeline of the counts that are added next."""
        assert max(more.intervals, default=-1) < len(more.ends), "a timeline row has no interval"
        timeline = self._timeline
        start, first, row = (
            timeline.ends[-1] if timeline.ends else 0.0,
            len(timeline.ends),
            len(self._numbers),
        )
        timeline.ends.extend(start + end for end in more.ends)
        timeline.intervals.extend(_raised(more.intervals, first))
        timeline.counts.extend(_raised(more.counts, row))
        timeline.numbers.extend(more.numbers)

    def build(self, rarest_first: bool = True) -> tuple[Counts, Timeline]:
        """Return the counts, each stack and group once, and their timeline.

        :param rarest_first: Sort by ``Count.calls``, those with equal calls as they were added;
            False keeps the order in which stacks and groups were added first.
        """
        self._add_up()
        sampled = self._scaled != [None] * len(self._scaled)
        counts = Counts(
            list(self._stacks),
            list(self._groups),
            self._stack_of,
            self._group_of,
            self._numbers,
            self._scaled if sampled else None,
        )
        calls = counts.calls
        if not rarest_first or all(map(le, calls, islice(calls, 1, None))):
            return counts, self._timeline
        order = sorted(range(len(calls)), key=calls.__getitem__)
        places = array("I", bytes(4 * len(order)))
        for place, row in enumerate(order):
            places[row] = place
        moved = replace(self._timeline, counts=_moved(self._timeline.counts, places))
        return counts.picked(order), moved

    def _add_up(self) -> None:
        """Add up the rows of each stack and group, in the order in which they were added first."""
        width = len(self._groups)
        keys = list(map(add, map(mul, self._stack_of, repeat(width)), self._group_of))
        if len(set(keys)) == len(keys):
            return
        sums: Sums[int] = Sums()
        rows = array("I", map(sums.add, keys, self._numbers, self._scaled))
        self._timeline.counts = _moved(self._timeline.counts, rows)
        found, numbers, scaled = zip(*sums, strict=True)
        self._stack_of = array("I", (key // width for key in found))
        self._group_of = array("I", (key % width for key in found))
        self._numbers, self._scaled = list(numbers), list(scaled)


def added_up(
    counts: Counts,
    stack_key: Callable[[Stack], object],
    group_key: Callable[[Group | None], object],
) -> Counts:
    """Return counts with one stack, and one group, for each key: the first with that key."""
    stacks: dict[object, Stack] = {}
    groups: dict[object, Group | None] = {}
    builder = ProfileBuilder()
    builder.add(
        Counts(
            [stacks.setdefault(stack_key(stack), stack) for stack in counts.stacks],
            [groups.setdefault(group_key(group), group) for group in counts.groups],
            counts.stack_of,
            counts.group_of,
            counts.numbers,
            counts.scaled,
        )
    )
    return builder.build(rarest_first=False)[0]


def _moved(indices: array[int], places: array[int]) -> array[int]:
    """Return the place of each index."""
    if _is_range(places):
        return indices
    if len(indices) == len(places) and _is_range(indices):
        return places
    return array("I", map(places.__getitem__, indices))


def _raised(indices: array[int], by: int) -> array[int]:
    """Return indices plus a number."""
    return array("I", map(by.__add__, indices)) if by else indices


def _is_range(indices: array[int]) -> bool:
    return all(map(eq, indices, count()))
