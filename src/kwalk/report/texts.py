# SPDX-License-Identifier: MIT
"""Texts that are made once: of calls and stacks, and of the milliseconds of a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from kwalk.columns import look_up

_Key = TypeVar("_Key", bound=Hashable)
# A machine that starts processes all the time has no end of calls.
MOST_KEPT = 1 << 14
DIGITS = [b"%03d" % number for number in range(1000)]
_NEAR = 10_000


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


class Clock:
    """Turns the milliseconds of a minute into times of day, given roughly what time it is."""

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}
        self._epoch_ms = (time.time_ns() - time.monotonic_ns()) // 1_000_000
        self._now_ms = 0

    def column(self, minute_ms: Sequence[int], time_ns: int) -> Sequence[bytes]:
        """Return ``HH:MM:SS.mmm`` of each, by the local clock.

        :param time_ns: Of one of these events, CLOCK_MONOTONIC; all lie within 20 seconds of it.
        """
        now_ms = self._epoch_ms + time_ns // 1_000_000
        if abs(now_ms - self._now_ms) > _NEAR:
            self._now_ms = now_ms
            self._texts.clear()
        try:
            return look_up(self._texts, minute_ms)
        except KeyError:
            for second in {ms // 1000 for ms in minute_ms}:
                self._add(second)
            return look_up(self._texts, minute_ms)

    def _add(self, second: int) -> None:
        """Make the texts of a second of the minute: of all such seconds the one that is nearest."""
        now = self._now_ms // 1000
        off = (second - now + 30) % 60 - 30
        clock = time.strftime("%H:%M:%S.", time.localtime(now + off)).encode()
        self._texts |= {second * 1000 + ms: clock + digits for ms, digits in enumerate(DIGITS)}
