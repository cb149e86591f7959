# SPDX-License-Identifier: MIT
"""Memo of the texts of hits and stacks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from kwalk.support.columns import look_up

_Key = TypeVar("_Key", bound=Hashable)
# Keys contain PIDs: a machine that forks all the time makes new ones without end.
MOST_KEPT = 1 << 14


class Texts(Generic[_Key]):
    """Memoizes the rendered bytes of each key; it is emptied when ``MOST_KEPT`` are held.

    :param make: Renders a key.
    """

    def __init__(self, make: Callable[[_Key], bytes]) -> None:
        self._make = make
        # A plain dict: lookups in a subclass with __missing__ are twice as slow.
        self._made: dict[_Key, bytes] = {}

    def column(self, keys: Sequence[_Key]) -> Sequence[bytes]:
        """Return the bytes of each key, in order."""
        try:
            return look_up(self._made, keys)
        except KeyError:
            pass
        new = set(keys) - self._made.keys()
        if len(self._made) + len(new) > MOST_KEPT:
            self._made.clear()
            new = set(keys)
        self._made |= {key: self._make(key) for key in new}
        return look_up(self._made, keys)

    def text(self, key: _Key) -> bytes:
        """Return the bytes of one key."""
        return self.column([key])[0]
