# SPDX-License-Identifier: MIT
"""What was counted, line by line, with the rates of the last intervals."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kwalk.model.builder import Sums
from kwalk.model.stack import Count, Group, Stack

KEPT = 60
Key = tuple[Stack | None, Group | None]


@dataclass(slots=True, eq=False)
class StackRow:
    """A stack, perhaps of one group; or a group with all of its stacks.

    :ivar count: Calls that were taken.
    :ivar calls: What these stand for.
    :ivar rate: Calls a second in the last interval; not smoothed.
    :ivar recent: (number of the interval, rate), only of those in which it was called.
    """

    stack: Stack | None
    group: Group | None
    count: int = 0
    calls: float = 0.0
    rate: float = 0.0
    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.stack, self.group

    def rates(self, now: int, number: int, each: int = 1) -> list[float]:
        """Return the highest rates of the last intervals, that of interval ``now`` last.

        :param number: Of rates.
        :param each: Of how many intervals each one is.
        """
        values = [0.0] * number
        last = now // each
        for tick, rate in reversed(self.recent):
            at = number - 1 - (last - tick // each)
            if at < 0:
                break
            if rate > values[at]:
                values[at] = rate
        return values


class Book:
    """All rows of one way to group.

    :param key: Tells which row a count belongs to.
    """

    def __init__(self, key: Callable[[Stack | None, Group | None], Key]) -> None:
        self._key = key
        self._rows: dict[Key, StackRow] = {}
        self._active: list[StackRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Iterable[StackRow]:
        """In the order in which they were met."""
        return self._rows.values()

    def get(self, key: Key | None) -> StackRow | None:
        """Return a row."""
        return self._rows.get(key) if key else None

    def _row(self, key: Key) -> StackRow:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = StackRow(*key)
        return row

    def feed(self, counts: Iterable[Count], tick: int, seconds: float) -> None:
        """Take what was counted so far.

        :param tick: The number of the interval that ends now.
        :param seconds: Its length.
        """
        sums: Sums[Key] = Sums()
        for count in counts:
            sums.add(self._key(count.stack, count.group), count.count, count.scaled)
        for row in self._active:
            row.rate = 0.0
        self._active = []
        for key, number, scaled in sums:
            row = self._row(key)
            calls = number if scaled is None else scaled
            if calls == row.calls:
                continue
            # What a sample stands for is estimated anew each time, and may become less.
            row.rate = max(0.0, (calls - row.calls) / seconds)
            row.count, row.calls = number, calls
            if row.rate:
                row.recent.append((tick, row.rate))
                self._active.append(row)

    def regrouped(self, key: Callable[[Stack | None, Group | None], Key]) -> Book:
        """Return a book with the same calls, past ones included, in other rows."""
        other = Book(key)
        recent: defaultdict[Key, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        for row in self.rows:
            target = other._row(key(row.stack, row.group))
            target.count += row.count
            target.calls += row.calls
            target.rate += row.rate
            for tick, rate in row.recent:
                recent[target.key][tick] += rate
        for found, rates in recent.items():
            other._rows[found].recent.extend(sorted(rates.items()))
        other._active = [row for row in other.rows if row.rate]
        return other
