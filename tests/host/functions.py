# SPDX-License-Identifier: MIT
"""Functions of a kernel, with the ORC rules of their instructions."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from x86.rules import UNDEFINED, Orc


class Function(NamedTuple):
    """A function.

    :ivar spans: Pairs of a byte offset and the rule from there on.
    """

    start: int
    size: int
    spans: tuple[tuple[int, Orc], ...]

    @property
    def end(self) -> int:
        return self.start + self.size

    def rule(self, address: int) -> Orc:
        """Return the rule at an address."""
        return max(span for span in self.spans if span[0] <= address - self.start)[1]


class Text:
    """A text section: functions in a row, with or without gaps, and their ORC table."""

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size = start, size
        self.functions: list[Function] = []
        self._next = start
        self._rows: list[tuple[int, Orc]] = []

    @property
    def end(self) -> int:
        return self.start + self.size

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def add(self, spans: Sequence[tuple[int, Orc]], size: int, gap: int = 0) -> Function:
        """Add a function after the last one."""
        function = Function(self._next + gap, size, tuple(spans))
        assert function.end <= self.end
        self.functions.append(function)
        self._rows = []
        self._next = function.end
        return function

    def table(self) -> list[tuple[int, Orc]]:
        """Return the ORC table as (address, rule), with undefined rules for gaps."""
        if not self._rows:
            rows: list[tuple[int, Orc]] = []
            for function in self.functions:
                if rows and rows[-1][0] == function.start:
                    rows.pop()
                rows += [(function.start + offset, rule) for offset, rule in function.spans]
                rows.append((function.end, UNDEFINED))
            self._rows = rows or [(self.start, UNDEFINED)]
        return self._rows

    def rule(self, address: int) -> Orc:
        """Look an address up in the table: its last row at or below, else the first."""
        rows = self.table()
        at = bisect.bisect_right(rows, address, key=lambda row: row[0])
        return rows[max(at - 1, 0)][1]
