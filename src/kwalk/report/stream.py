# SPDX-License-Identifier: MIT
"""Output of ``kwalk stream``: blocks of text, names only, or one JSON object a line.

The text of a ``Call`` (task, CPU, stack) is rendered once and memoized. A batch of events is a list
of such pieces, which are copied only once, when written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from kwalk.model.event import Batch, Call
from kwalk.model.ledger import Summary
from kwalk.model.stack import NUMBERLESS, Frame, Stack
from kwalk.report import summary as summaries
from kwalk.report.frame import frame_data, stack_lines
from kwalk.support.columns import interleave, look_up
from kwalk.support.printable import plain

if TYPE_CHECKING:  # the engine is nothing that a report needs
    from kwalk.symbolize.symbolizer import Symbolizer

_Key = TypeVar("_Key", bound=Hashable)
# Keys contain PIDs: a machine that forks all the time makes new ones without end.
MOST_KEPT = 1 << 14


class StreamReport(Protocol):
    """Format of events."""

    def call(self, call: Call) -> bytes:
        """Return the text of a call, for ``Batch.texts``: the same for each of its events."""

    def pieces(self, batch: Batch) -> Sequence[bytes | bytearray]:
        """Return the text of a batch in pieces, to be written one after the other.

        Each event has as many pieces; or all have a single one, with as many bytes of each.
        """

    def end(self, summary: Summary) -> str:
        """Return the text after the last event."""


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
        every = dict.fromkeys(keys)  # in their order
        new = [key for key in every if key not in self._made]
        if len(self._made) + len(new) > MOST_KEPT:
            self._made.clear()
            new = [*every]
        self._made |= {key: self._make(key) for key in new}
        return look_up(self._made, keys)

    def text(self, key: _Key) -> bytes:
        """Return the bytes of one key."""
        return self.column([key])[0]


class TextStream:
    """Blocks of text: time of day, CPU, process, then a frame a line.

    :param addresses: Show the address of each frame.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool = False) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._stacks = Texts(self._stack)
        self._calls = Texts(self.call)

    def pieces(self, batch: Batch) -> Sequence[bytes]:
        """Return a block for each event, ended by an empty line."""
        if not batch.clocks:
            return []
        return interleave(batch.clocks, batch.texts or self._calls.column(batch.calls))

    def call(self, call: Call) -> bytes:
        """See ``StreamReport.call``."""
        who = call.who
        assert who, "requested with the time"
        pid, tid = (NUMBERLESS if of is None else of for of in (who.tgid, who.pid))
        head = f" cpu {who.cpu}  pid {pid}  tid {tid}  {plain(who.comm)}\n"
        return head.encode() + self._stacks.text(call.stack)

    def _stack(self, stack: Stack) -> bytes:
        frames = self._symbolizer.frames(stack)
        return (stack_lines(frames, stack.truncated, self._addresses) + "\n").encode()

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class NamesStream:
    """Output format of the published tool: a symbol name a line, an empty line after each event."""

    def __init__(self, symbolizer: Symbolizer) -> None:
        self._symbolizer = symbolizer
        self._calls = Texts(self.call)

    def pieces(self, batch: Batch) -> Sequence[bytes]:
        """Return the frames' names of each event."""
        return batch.texts or self._calls.column(batch.calls)

    def call(self, call: Call) -> bytes:
        """See ``StreamReport.call``."""
        frames = self._symbolizer.frames(call.stack)
        names = (plain(frame.name) or f"{frame.address:#x}" for frame in frames)
        return ("\n".join(names) + "\n\n").encode()

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class JsonLines:
    """A JSON object a line for each event, then the summary as the last line.

    :param addresses: Include the address of each frame, as ``addr``.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool = True) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._stacks = Texts(self._stack)
        self._calls = Texts(self.call)

    def pieces(self, batch: Batch) -> Sequence[bytes]:
        """Return a line for each event."""
        times = json_times(batch)
        return interleave(times, batch.texts or self._calls.column(batch.calls)) if times else []

    def call(self, call: Call) -> bytes:
        """See ``StreamReport.call``."""
        return json_who(call) + b"," + self._stacks.text(call.stack)

    def _stack(self, stack: Stack) -> bytes:
        return json_members(stack_data(self._symbolizer.frames(stack), stack, self._addresses))

    def end(self, summary: Summary) -> str:
        """Return the summary's line."""
        return json.dumps(summaries.as_data(summary), separators=(",", ":")) + "\n"


def json_times(batch: Batch) -> list[bytes]:
    """Return the beginning of each event's JSON object."""
    return [b'{"time_ns":%d,' % at for at in batch.times]


def json_who(call: Call) -> bytes:
    """Return the members of a JSON object that say CPU and task."""
    who = call.who
    assert who, "requested with the time"
    data = {"cpu": who.cpu, "pid": who.tgid, "tid": who.pid, "comm": who.comm}
    return json.dumps(data, separators=(",", ":"))[1:-1].encode()


def stack_data(frames: Sequence[Frame], stack: Stack, addresses: bool) -> dict[str, object]:
    """Return the members of a JSON object that say a stack."""
    shown = [frame_data(frame, addresses) for frame in frames]
    return {"frames": shown, "truncated": stack.truncated, "fallback": stack.fallback}


def json_members(data: dict[str, object]) -> bytes:
    """Return the last members of a JSON object, its end, and the end of its line."""
    return json.dumps(data, separators=(",", ":"))[1:].encode() + b"\n"
