# SPDX-License-Identifier: MIT
"""Rows of reports, put together in C of cells that are made once for each distinct value.

There can be a million rows, of a few thousand stacks, numbers and groups.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any

from kwalk.model.counts import Counts
from kwalk.support.memo import Memo

# Rows of a piece of output, and most cells of a column that are remembered.
_ROWS = 1 << 10
_CELLS = 1 << 14


class CellKey(enum.Enum):
    """Value that a cell is made of: the stack, the group or None, or (``count``, ``scaled``)."""

    STACK = enum.auto()
    GROUP = enum.auto()
    NUMBER = enum.auto()


Column = tuple[CellKey, Callable[[Any], Any]]
"""A value, and a function that makes its cell."""


def cells(counts: Counts, *columns: Column) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Yield the rows in pieces, each row as a tuple of its cells.

    Cells that are not remembered are made in the order of rows, and of columns within a row.
    """
    memos = [Memo(_maker(counts, *column), _CELLS) for column in columns]
    for start in range(0, len(counts), _ROWS):
        piece = counts[start : start + _ROWS]
        found = [
            map(memo.__getitem__, _values(piece, by))
            for memo, (by, _) in zip(memos, columns, strict=True)
        ]
        yield zip(*found, strict=True)


def _values(counts: Counts, by: CellKey) -> Iterable[Any]:
    """Return what cells are remembered by: stacks and groups by their index."""
    if by == CellKey.NUMBER:
        return zip(counts.numbers, counts.scaled or repeat(None), strict=False)
    return counts.stack_of if by == CellKey.STACK else counts.group_of


def _maker(counts: Counts, by: CellKey, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if by == CellKey.NUMBER:
        return make
    table: Any = counts.stacks if by == CellKey.STACK else counts.groups
    return lambda index: make(table[index])


def texts(counts: Counts, *columns: Column) -> Iterator[str]:
    """Yield the joined cells of all rows, which are texts, in pieces."""
    for piece in cells(counts, *columns):
        yield "".join(chain.from_iterable(piece))
