# SPDX-License-Identifier: MIT
"""Operations on whole columns: per-event Python code is the largest cost on the traced machine."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeVar

_Key = TypeVar("_Key")
_Key_contra = TypeVar("_Key_contra", contravariant=True)
_Item = TypeVar("_Item")
_Item_co = TypeVar("_Item_co", covariant=True)


class _Table(Protocol[_Key_contra, _Item_co]):
    """A dictionary, or a list with its indices as keys."""

    def __getitem__(self, key: _Key_contra, /) -> _Item_co: ...


def look_up(table: _Table[_Key, _Item], keys: Sequence[_Key]) -> tuple[_Item, ...]:
    """Return ``table[key]`` for every key, at half the cost of a loop.

    :raises LookupError: if a key is missing.
    """
    if len(keys) > 1:
        found: tuple[_Item, ...] = itemgetter(*keys)(table)
        return found
    return tuple(table[key] for key in keys)


def interleave(*columns: Sequence[_Item]) -> list[_Item]:
    """Return the first items of all columns, then the second items, and so on."""
    items: list[Any] = [None] * (len(columns[0]) * len(columns))
    for index, column in enumerate(columns):
        items[index :: len(columns)] = column
    return items
