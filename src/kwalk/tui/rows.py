# SPDX-License-Identifier: MIT
"""Rows of the live view: counts and the rates of the last intervals."""

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
    """Counts of a stack, of a stack in one group, or of a group over all stacks.

    :ivar stack: None for a group over all stacks.
    :ivar group: None for a stack over all groups.
    :ivar count: Recorded calls.
    :ivar calls: Recorded calls, scaled up by sampling.
    :ivar rate: Calls per second in the last interval, not smoothed.
    :ivar recent: (interval number, rate) of the last intervals with calls.
    """

    stack: Stack | None
    group: Group | None
    count: int = 0
    calls: float = 0.0
    rate: float = 0.0
    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def key(self) -> Key:
        """The key that the row aggregates by."""
        return self.stack, self.group

    def rates(self, now: int, number: int, each: int = 1) -> list[float]:
        """Return the rates of the last intervals, oldest first, up to interval ``now``.

        :param number: Length of the result.
        :param each: Intervals per value, which is the highest of their rates.
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


class RowTable:
    """All rows of one grouping.

    :param key: Returns the key of the row that a count belongs to.
    """

    def __init__(self, key: Callable[[Stack | None, Group | None], Key]) -> None:
        self._key = key
        self._rows: dict[Key, StackRow] = {}
        self._active: list[StackRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Iterable[StackRow]:
        """Rows in the order of their first counts."""
        return self._rows.values()

    def get(self, key: Key | None) -> StackRow | None:
        """Return the row of a key, or None."""
        return self._rows.get(key) if key else None

    def _row(self, key: Key) -> StackRow:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = StackRow(*key)
        return row

    def feed(self, counts: Iterable[Count], tick: int, seconds: float) -> None:
        """Update the rows with all counts since the start of tracing.

        :param tick: Number of the interval that ends now.
        :param seconds: Length of this interval.
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
            # Scaled calls are estimated anew each time, and may decrease.
            row.rate = max(0.0, (calls - row.calls) / seconds)
            row.count, row.calls = number, calls
            if row.rate:
                row.recent.append((tick, row.rate))
                self._active.append(row)

    def regrouped(self, key: Callable[[Stack | None, Group | None], Key]) -> RowTable:
        """Return a table with the same calls and past rates, aggregated by another key."""
        other = RowTable(key)
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
