# SPDX-License-Identifier: MIT
"""Texts that are made once, of calls and of stacks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from kwalk.support.columns import look_up

_Key = TypeVar("_Key", bound=Hashable)
# A machine that starts processes all the time has no end of calls.
MOST_KEPT = 1 << 14


class Texts(Generic[_Key]):
    """What it takes to make a text, and the texts that were made."""

    def __init__(self, make: Callable[[_Key], bytes]) -> None:
        self._make = make
        # No dict of our own with __missing__: to look up in a subclass is twice as slow.
        self._made: dict[_Key, bytes] = {}

    def column(self, keys: Sequence[_Key]) -> Sequence[bytes]:
        """Return the text of each key."""
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
        """Return the text of one key."""
        return self.column([key])[0]
