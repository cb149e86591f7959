# SPDX-License-Identifier: MIT
"""Rows of hits to the counts and the timeline of a profile.

The counts of every profile are added up and sorted here, and their timeline's rows moved along.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Group, Stack

_Key = TypeVar("_Key")
_DROPPED = (1 << 32) - 1


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
        self._sums: Sums[tuple[Stack, Group | None]] = Sums()
        self._timeline = Timeline()  # its rows are indexes of the sums

    def count(
        self, stack: Stack, group: Group | None, count: int, scaled: float | None = None
    ) -> int:
        """Add hits of a stack in a group, and return their row (see ``Sums.add``)."""
        return self._sums.add((stack, group), count, scaled)

    def add(self, counts: Iterable[Count | None], timeline: Timeline | None = None) -> None:
        """Add counts and, behind the intervals so far, their timeline.

        :param counts: Counts by stack and group, in any order; None drops a count and its rows.
        :param timeline: Timeline of exactly these counts (``Timeline.counts`` indexes ``counts``);
            None or empty: they have none.
        """
        rows = array(
            "I",
            (
                _DROPPED if one is None else self.count(one.stack, one.group, one.count, one.scaled)
                for one in counts
            ),
        )
        if timeline is not None:
            self._append(timeline, rows)

    def _append(self, more: Timeline, rows: array[int]) -> None:
        """Append a timeline whose rows index ``rows``."""
        assert max(more.counts, default=-1) < len(rows), "a timeline row indexes no count"
        assert max(more.intervals, default=-1) < len(more.ends), "a timeline row has no interval"
        if _DROPPED in rows:
            more = more.only(lambda index: rows[index] != _DROPPED)
        timeline = self._timeline
        start, first = (timeline.ends[-1] if timeline.ends else 0.0), len(timeline.ends)
        timeline.ends.extend(start + end for end in more.ends)
        timeline.intervals.extend(
            array("I", (first + interval for interval in more.intervals))
            if first
            else more.intervals
        )
        timeline.counts.extend(_moved(more.counts, rows))
        timeline.numbers.extend(more.numbers)

    def build(self, rarest_first: bool = True) -> tuple[list[Count], Timeline]:
        """Return the counts, each stack and group once, and their timeline.

        :param rarest_first: Sort by ``Count.calls``, those with equal calls as they were added;
            False keeps the order in which stacks and groups were added first.
        """
        counts = [
            Count(stack, count, group, scaled) for (stack, group), count, scaled in self._sums
        ]
        if not rarest_first:
            return counts, self._timeline
        order = sorted(range(len(counts)), key=lambda row: counts[row].calls)
        places = array("I", bytes(4 * len(order)))
        for place, row in enumerate(order):
            places[row] = place
        moved = replace(self._timeline, counts=_moved(self._timeline.counts, places))
        return [counts[row] for row in order], moved


def _moved(indices: array[int], places: array[int]) -> array[int]:
    """Return the place of each index."""
    if places == array("I", range(len(places))):
        return indices
    return array("I", map(places.__getitem__, indices))
