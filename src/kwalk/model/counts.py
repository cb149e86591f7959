# SPDX-License-Identifier: MIT
"""Counts as columns, since there can be a million."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from typing import Self, overload

from kwalk.model.stack import Count, Group, Stack
from kwalk.support.memo import Numbers


class Counts(Sequence[Count]):
    """Sequence of counts in columns; it makes a ``Count`` on access.

    Slices share the tables, which may then hold stacks and groups of no row.

    :ivar stacks: Table of distinct stacks.
    :ivar groups: Table of distinct groups; None stands for no group.
    :ivar stack_of: For each row, the index of its stack in ``stacks``.
    :ivar group_of: For each row, the index of its group in ``groups``.
    :ivar numbers: For each row, the number of recorded hits.
    :ivar scaled: For each row, ``Count.scaled``; None if no row has one.
    """

    __slots__ = ("group_of", "groups", "numbers", "scaled", "stack_of", "stacks")

    def __init__(
        self,
        stacks: Sequence[Stack],
        groups: Sequence[Group | None],
        stack_of: array[int],
        group_of: array[int],
        numbers: Sequence[int],
        scaled: Sequence[float | None] | None = None,
    ) -> None:
        self.stacks = stacks
        self.groups = groups
        self.stack_of = stack_of
        self.group_of = group_of
        self.numbers = numbers
        self.scaled = scaled

    @classmethod
    def of(cls, counts: Iterable[Count]) -> Counts:
        """Return counts as columns; columns are returned as they are."""
        if isinstance(counts, Counts):
            return counts
        rows = list(counts)
        stacks: Numbers[Stack] = Numbers()
        groups: Numbers[Group | None] = Numbers()
        stack_of = array("I", [stacks[row.stack] for row in rows])
        group_of = array("I", [groups[row.group] for row in rows])
        scaled = [row.scaled for row in rows]
        sampled = any(each is not None for each in scaled)
        numbers = [row.count for row in rows]
        return cls(
            list(stacks), list(groups), stack_of, group_of, numbers, scaled if sampled else None
        )

    @property
    def calls(self) -> Sequence[float]:
        """``Count.calls`` of each row."""
        if self.scaled is None:
            return self.numbers
        pairs = zip(self.numbers, self.scaled, strict=True)
        return [number if scaled is None else scaled for number, scaled in pairs]

    @property
    def met_stacks(self) -> list[Stack]:
        """Distinct stacks that rows have, in the order of rows."""
        return list(map(self.stacks.__getitem__, dict.fromkeys(self.stack_of)))

    @property
    def met_groups(self) -> list[Group | None]:
        """Distinct groups that rows have, in the order of rows."""
        return list(map(self.groups.__getitem__, dict.fromkeys(self.group_of)))

    def picked(self, rows: Sequence[int]) -> Counts:
        """Return the counts of these rows, in this order."""
        return Counts(
            self.stacks,
            self.groups,
            array("I", map(self.stack_of.__getitem__, rows)),
            array("I", map(self.group_of.__getitem__, rows)),
            list(map(self.numbers.__getitem__, rows)),
            None if self.scaled is None else list(map(self.scaled.__getitem__, rows)),
        )

    def among(self, stacks: Iterable[bool]) -> int:
        """Return the recorded hits of some stacks.

        :param stacks: For each of ``stacks``, whether to add its hits.
        """
        wanted = list(stacks)
        if not any(wanted):
            return 0
        return sum(compress(self.numbers, map(wanted.__getitem__, self.stack_of)))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Count]:
        return map(
            Count,
            map(self.stacks.__getitem__, self.stack_of),
            self.numbers,
            map(self.groups.__getitem__, self.group_of),
            repeat(None) if self.scaled is None else self.scaled,
        )

    @overload
    def __getitem__(self, index: int) -> Count: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Count | Self:
        if isinstance(index, slice):
            return type(self)(
                self.stacks,
                self.groups,
                self.stack_of[index],
                self.group_of[index],
                self.numbers[index],
                None if self.scaled is None else self.scaled[index],
            )
        return Count(
            self.stacks[self.stack_of[index]],
            self.numbers[index],
            self.groups[self.group_of[index]],
            None if self.scaled is None else self.scaled[index],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(map(Count.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Counts({list(self)!r})"
