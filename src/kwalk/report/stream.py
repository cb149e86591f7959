# SPDX-License-Identifier: MIT
"""Events as they come: blocks of text, names only, or one JSON object a line.

What belongs to a stack, or to whose call it was, is turned into text once; a batch of events is
a list of such pieces. Most of the work is copying them, so they are copied once, when written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Protocol, TypeVar

from kwalk.profile import Batch, Stack, Summary, Who
from kwalk.report import summary as summaries
from kwalk.report.frame import frame_data, stack_lines
from kwalk.symbolize.symbolizer import Symbolizer

_SECOND = 1_000_000_000
_DIGITS = [b"%03d" % number for number in range(1000)]
_Key = TypeVar("_Key", bound=Hashable)
# Pieces of text that are kept at most; a machine that starts processes all the time has no end.
_MOST_KEPT = 1 << 16
_MOST_SECONDS = 8


class _Texts(dict[_Key, bytes]):
    """What it takes to make a text once, and the texts that were made."""

    def __init__(self, make: Callable[[_Key], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: _Key) -> bytes:
        if len(self) >= _MOST_KEPT:
            self.clear()
        text = self[key] = self._make(key).encode()
        return text


class StreamReport(Protocol):
    """Turns events into text."""

    def pieces(self, batch: Batch) -> list[bytes]:
        """Return the text of events in a row, with their line ends, in parts."""

    def end(self, summary: Summary) -> str:
        """Return what stands at the end of standard output."""


def _interleave(*columns: list[bytes]) -> list[bytes]:
    """Return the first items of all columns, then the second ones, and so on."""
    pieces = list(chain.from_iterable(columns))
    for index, column in enumerate(columns):
        pieces[index :: len(columns)] = column
    return pieces


class Text:
    """For people: time of day, CPU, process, then a frame a line.

    :param addresses: Show each frame's address.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool = False) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._stacks = _Texts(self._stack)
        self._who = _Texts(self._whose)
        self._clocks: dict[int, list[bytes]] = {}
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def pieces(self, batch: Batch) -> list[bytes]:
        """Return a block an event, an empty line at its end."""
        if not batch.times:
            return []
        # Small numbers are quick: count from the second that the batch begins in.
        first = (min(batch.times) + self._epoch_ns) // _SECOND
        start = first * _SECOND - self._epoch_ns
        micros = [(at - start) // 1000 for at in batch.times]
        if max(micros) < 1_000_000:
            millis = self._millis(first)
            clocks = [millis[at // 1000] for at in micros]
        else:
            clocks = [self._millis(first + at // 1_000_000)[at // 1000 % 1000] for at in micros]
        return _interleave(
            clocks,
            [_DIGITS[at % 1000] for at in micros],
            list(map(self._who.__getitem__, batch.who)),
            list(map(self._stacks.__getitem__, batch.stacks)),
        )

    def _millis(self, second: int) -> list[bytes]:
        """Return the texts of a second's thousandths."""
        if second not in self._clocks:
            if len(self._clocks) > _MOST_SECONDS:
                self._clocks.clear()
            clock = time.strftime("%H:%M:%S.", time.localtime(second)).encode()
            self._clocks[second] = [clock + digits for digits in _DIGITS]
        return self._clocks[second]

    @staticmethod
    def _whose(who: Who) -> str:
        return f"  cpu {who.cpu}  pid {who.tgid}  tid {who.pid}  {who.comm}\n"

    def _stack(self, stack: Stack) -> str:
        frames = self._symbolizer.frames(stack)
        return stack_lines(frames, stack.truncated, self._addresses) + "\n"

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class Names:
    """The published tool's form: one symbol name a line, an empty line between events."""

    def __init__(self, symbolizer: Symbolizer) -> None:
        self._symbolizer = symbolizer
        self._stacks = _Texts(self._stack)

    def pieces(self, batch: Batch) -> list[bytes]:
        """Return the names of every event's frames."""
        return list(map(self._stacks.__getitem__, batch.stacks))

    def _stack(self, stack: Stack) -> str:
        frames = self._symbolizer.frames(stack)
        return "\n".join(frame.name or f"{frame.address:#x}" for frame in frames) + "\n\n"

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class JsonLines:
    """One JSON object an event, and the summary as the last line.

    :param addresses: Give each frame's address, as ``addr``.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool = True) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._stacks = _Texts(self._stack)
        self._who = _Texts(self._whose)

    def pieces(self, batch: Batch) -> list[bytes]:
        """Return a line an event."""
        return _interleave(
            [b'{"time_ns":%d,' % at for at in batch.times],
            list(map(self._who.__getitem__, batch.who)),
            list(map(self._stacks.__getitem__, batch.stacks)),
        )

    @staticmethod
    def _whose(who: Who) -> str:
        comm = json.dumps(who.comm)
        return f'"cpu":{who.cpu},"pid":{who.tgid},"tid":{who.pid},"comm":{comm},'

    def _stack(self, stack: Stack) -> str:
        frames = [frame_data(frame, self._addresses) for frame in self._symbolizer.frames(stack)]
        body = {"frames": frames, "truncated": stack.truncated, "fallback": stack.fallback}
        return json.dumps(body, separators=(",", ":"))[1:] + "\n"

    def end(self, summary: Summary) -> str:
        """Return the summary's line."""
        return json.dumps(summaries.as_data(summary), separators=(",", ":")) + "\n"
