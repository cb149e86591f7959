# SPDX-License-Identifier: MIT
"""Events as they come: blocks of text, names only, or one JSON object a line."""

from __future__ import annotations

import json
import time
from typing import Protocol

from kwalk.profile import Event, Stack, Summary
from kwalk.report import summary as summaries
from kwalk.report.frame import frame_text
from kwalk.symbolize.symbolizer import Symbolizer


class StreamReport(Protocol):
    """Turns events into text; the text of a stack is made once."""

    def event(self, event: Event) -> str:
        """Return an event's text, with its line ends."""

    def end(self, summary: Summary) -> str:
        """Return what stands at the end of standard output."""


class Text:
    """For people: time of day, CPU, process, then a frame a line.

    :param addresses: Show each frame's address.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool = True) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._stacks: dict[Stack, str] = {}
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._second = -1
        self._clock = ""

    def event(self, event: Event) -> str:
        """Return the block of one event, an empty line at its end."""
        stack = self._stacks.get(event.stack)
        if stack is None:
            stack = self._stacks[event.stack] = self._stack(event.stack)
        second, fraction = divmod(event.time_ns + self._epoch_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._clock = time.strftime("%H:%M:%S", time.localtime(second))
        return (
            f"{self._clock}.{fraction // 1000:06d}  cpu {event.cpu}  "
            f"pid {event.tgid}  tid {event.pid}  {event.comm}\n{stack}"
        )

    def _stack(self, stack: Stack) -> str:
        lines = []
        for frame in self._symbolizer.frames(stack):
            address = f"{frame.address:016x}  " if self._addresses else ""
            lines.append(f"    {address}{frame_text(frame)}\n")
        if stack.truncated:
            lines.append("    ... (truncated)\n")
        return "".join(lines) + "\n"

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class Names:
    """The published tool's form: one symbol name a line, an empty line between events."""

    def __init__(self, symbolizer: Symbolizer) -> None:
        self._symbolizer = symbolizer
        self._stacks: dict[Stack, str] = {}

    def event(self, event: Event) -> str:
        """Return the names of one event's frames."""
        text = self._stacks.get(event.stack)
        if text is None:
            frames = self._symbolizer.frames(event.stack)
            names = [frame.name or f"{frame.address:#x}" for frame in frames]
            text = self._stacks[event.stack] = "\n".join(names) + "\n\n"
        return text

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
        self._stacks: dict[Stack, str] = {}

    def event(self, event: Event) -> str:
        """Return the line of one event."""
        stack = self._stacks.get(event.stack)
        if stack is None:
            stack = self._stacks[event.stack] = self._stack(event.stack)
        return (
            f'{{"time_ns":{event.time_ns},"cpu":{event.cpu},"pid":{event.tgid},'
            f'"tid":{event.pid},"comm":{json.dumps(event.comm)},{stack}}}\n'
        )

    def _stack(self, stack: Stack) -> str:
        frames = []
        for frame in self._symbolizer.frames(stack):
            entry = {"name": frame.name, "offset": frame.offset, "module": frame.module}
            if self._addresses:
                entry["addr"] = f"{frame.address:#x}"
            frames.append(entry)
        body = {"frames": frames, "truncated": stack.truncated, "fallback": stack.fallback}
        return json.dumps(body, separators=(",", ":"))[1:-1]

    def end(self, summary: Summary) -> str:
        """Return the summary's line."""
        return json.dumps(summaries.as_data(summary), separators=(",", ":")) + "\n"
