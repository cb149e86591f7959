# SPDX-License-Identifier: MIT
"""What every report reads: stacks with their counts; plain data, no kernel, no drawing."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from kwalk.ledger import Summary
from kwalk.stack import Count, Group, Stack
from kwalk.words import counted, plural


@dataclass
class Timeline:
    """When it was counted: rows in columns, for there can be a million of them.

    :ivar ends: When each interval ended, in seconds since the capture began; they follow each
        other without gaps.
    :ivar intervals: For each row, the index of its interval.
    :ivar counts: For each row, the index of its count in ``Profile.counts``.
    :ivar numbers: For each row, how many events were counted then.
    """

    ends: list[float] = field(default_factory=list)
    intervals: array[int] = field(default_factory=lambda: array("I"))
    counts: array[int] = field(default_factory=lambda: array("I"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over (index of the interval, index of the count, number)."""
        return zip(self.intervals, self.counts, self.numbers, strict=True)

    def only(self, wanted: Callable[[int], bool]) -> Timeline:
        """Return it with the rows of some counts only.

        :param wanted: Whether the count at this index is one of them.
        """
        kept = [wanted(index) for index in self.counts]
        columns = (self.intervals, self.counts, self.numbers)
        return Timeline(
            self.ends, *(array(column.typecode, compress(column, kept)) for column in columns)
        )

    def totals(self) -> list[int]:
        """Return how many events were counted in each interval."""
        totals = [0] * len(self.ends)
        for interval, number in zip(self.intervals, self.numbers, strict=True):
            totals[interval] += number
        return totals


def added_up(counts: Iterable[Count]) -> tuple[list[Count], list[int]]:
    """Return one count for each stack and group, and at which place each count is in it."""
    places: dict[tuple[Stack, Group | None], int] = {}
    found: list[Count] = []
    order = []
    for count in counts:
        place = places.setdefault((count.stack, count.group), len(found))
        order.append(place)
        if place == len(found):
            found.append(count)
        else:
            found[place] = found[place].plus(count)
    return found, order


def kinds_of(counts: Iterable[Count]) -> set[str]:
    """Return by what counts of one stack are told apart: kinds of groups, or ``none``."""
    return {count.group.kind if count.group else "none" for count in counts}


@dataclass(repr=False)
class Profile:
    """Stacks with their counts, and how they were captured.

    :ivar counts: The rarest first; ahead of them what stands for others, where that was made of
        them (``report.cut``).
    :ivar timeline: Empty where nothing was recorded by the second.
    :ivar facts: About the machine, its kernel and the command line; ready for JSON.
    """

    counts: list[Count]
    summary: Summary
    timeline: Timeline = field(default_factory=Timeline)
    facts: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Count]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def calls(self) -> float:
        """How many calls all of these stand for."""
        return sum(count.calls for count in self.counts)

    @property
    def seconds(self) -> float:
        """How long it took; 0 where that was not recorded."""
        return self.timeline.ends[-1] if self.timeline.ends else 0.0

    def whole_timeline(self) -> Timeline:
        """Return the timeline; what none of its rows holds is in the last interval, if any."""
        timeline = self.timeline
        left = [count.count for count in self.counts]
        for index, number in zip(timeline.counts, timeline.numbers, strict=True):
            left[index] -= number
        late = [index for index, number in enumerate(left) if number]
        if not late or not timeline.ends:
            return timeline
        last = array("I", [len(timeline.ends) - 1]) * len(late)
        return Timeline(
            timeline.ends,
            timeline.intervals + last,
            timeline.counts + array("I", late),
            timeline.numbers + array("q", [left[index] for index in late]),
        )

    def __repr__(self) -> str:
        calls, stacks = counted(round(self.calls), self.summary.unit), plural(len(self), "stack")
        return f"<Profile of {self.summary.function}: {calls}, {stacks}, {self.seconds:.1f} s>"

    def __add__(self, other: Profile) -> Profile:
        """See ``merging.merge``."""
        from kwalk.merging import merge

        return merge([self, other]) if isinstance(other, Profile) else NotImplemented

    def __radd__(self, other: int) -> Profile:
        """For ``sum()``, which begins with 0."""
        return self if other == 0 else NotImplemented

    def narrow(
        self,
        *,
        from_caller: str | re.Pattern[str] | None = None,
        until: str | None = None,
        group: str | re.Pattern[str] | None = None,
        apart: bool = True,
        seconds: tuple[float, float] | None = None,
    ) -> Profile:
        """Return a part of it, as ``kwalk report`` does with the options of these names.

        :param apart: Whether groups stay apart; else each stack has one count.
        :param seconds: From when to when, since the capture began.
        :raises UsageError: if a choice is none, or there is no such time.
        """
        from kwalk import checks
        from kwalk.narrowing import between, narrow

        through = checks.expression("from_caller", from_caller)
        wanted = checks.expression("group", group)
        outermost, apart = checks.glob("until", until), checks.truth("apart", apart)
        times = checks.span("seconds", seconds)
        return narrow(between(self, *times) if times else self, through, outermost, wanted, apart)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a recording, as ``kwalk record`` does.

        :raises KwalkError: if the file cannot be written.
        """
        from kwalk.recording.files import save

        save(self, path)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``; see ``tables.to_pandas``.

        :raises KwalkError: if pandas is not installed.
        """
        from kwalk.tables import to_pandas

        return to_pandas(self)
