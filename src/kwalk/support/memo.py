# SPDX-License-Identifier: MIT
"""Dictionaries that make missing values: ``map(memo.__getitem__, keys)`` runs in C where it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Memo(dict[_Key, _Value]):
    """Values by key, each made when it is first requested.

    :param make: Returns the value of a key.
    :param most: Most values; beyond it all are forgotten. None: no limit.
    """

    def __init__(self, make: Callable[[_Key], _Value], most: int | None = None) -> None:
        super().__init__()
        self._make = make
        self._most = most

    def __missing__(self, key: _Key) -> _Value:
        made = self._make(key)
        if len(self) == self._most:
            self.clear()
        self[key] = made
        return made


class Numbers(dict[_Key, int]):
    """Numbers of keys, from 0, in the order in which keys are first requested."""

    def __missing__(self, key: _Key) -> int:
        number = self[key] = len(self)
        return number
