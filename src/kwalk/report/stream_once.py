# SPDX-License-Identifier: MIT
"""Output of ``kwalk stream --stacks once``: a line for each event, with the number of its stack.

A stack is shown with its first event. A number stands for one stack only; a stack that comes back
after ``MOST_KEPT`` others may get another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kwalk.model.event import Batch, Call, Clocks
from kwalk.model.ledger import Summary
from kwalk.model.stack import NUMBERLESS, Stack
from kwalk.report.frame import stack_lines
from kwalk.report.stream import (
    MOST_KEPT,
    JsonLines,
    Texts,
    json_members,
    json_times,
    json_who,
    stack_data,
)
from kwalk.support.columns import interleave, look_up
from kwalk.support.printable import plain

if TYPE_CHECKING:  # the engine is nothing that a report needs
    from kwalk.symbolize.symbolizer import Symbolizer


class StackNumbers:
    """Numbers of stacks, from 1; which events are to show theirs."""

    def __init__(self) -> None:
        self._numbers: dict[Stack, int] = {}
        self._last = 0
        self._hidden: set[Stack] = set()
        self._texts: dict[bytes, Stack] = {}  # calls with a stack that was not shown yet

    def number(self, stack: Stack) -> int:
        """Return a stack's number."""
        if stack not in self._numbers:
            if len(self._numbers) >= MOST_KEPT:
                self._numbers = {hidden: self._numbers[hidden] for hidden in self._hidden}
            self._last += 1
            self._numbers[stack] = self._last
            self._hidden.add(stack)
        return self._numbers[stack]

    def note(self, text: bytes, stack: Stack) -> bytes:
        """Return the text of a call, and remember that it is of this stack."""
        if stack in self._hidden:
            self._texts[text] = stack
        return text

    def shown(self, texts: Sequence[bytes]) -> dict[int, Stack]:
        """Return the stacks that texts are the first of, by the place of the first."""
        places: dict[Stack, int] = {}
        if self._texts:
            for text in self._texts.keys() & set(texts):
                stack, at = self._texts[text], texts.index(text)
                places[stack] = min(places.get(stack, at), at)
        if places:
            self._hidden -= places.keys()
            self._texts = {text: of for text, of in self._texts.items() if of not in places}
        return {at: stack for stack, at in places.items()}


class TextOnce:
    """A line an event: time of day, CPU, process, number of the stack. A new stack is below it.

    :param addresses: Show the address of each frame.
    """

    _BYTES = 80  # nearly all lines have them; a multiple of 8

    def __init__(self, symbolizer: Symbolizer, addresses: bool = False) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._numbers = StackNumbers()
        self._lines = Texts(self.call)
        self._even = True  # all lines have _BYTES

    def pieces(self, batch: Batch) -> Sequence[bytes | bytearray]:
        """Return a line for each event, and stacks that were not shown yet."""
        lines = batch.texts or self._lines.column(batch.calls)
        shown = self._numbers.shown(lines)
        if self._even and not shown and isinstance(batch.clocks, Clocks):
            return [self._block(lines, batch.clocks)]
        rest = {line: line[Clocks.BYTES :] for line in set(lines)}
        pieces = interleave(batch.clocks, look_up(rest, lines)) if lines else []
        for at, stack in shown.items():
            frames = self._symbolizer.frames(stack)
            pieces[2 * at + 1] += stack_lines(frames, stack.truncated, self._addresses).encode()
            pieces[2 * at + 1] += b"\n"
        return pieces

    def _block(self, lines: Sequence[bytes], clocks: Clocks) -> bytearray:
        """Return lines of equal lengths with their times, set all at once."""
        block = bytearray().join(lines)
        words, each = memoryview(block).cast("Q"), self._BYTES // 8
        words[::each], words[1::each] = clocks.words()
        return block

    def call(self, call: Call) -> bytes:
        """Return a call's line, with room for the time of day."""
        who = call.who
        assert who, "requested with the time"
        pid, tid = (NUMBERLESS if of is None else of for of in (who.tgid, who.pid))
        text = f" cpu {who.cpu:>3}  pid {pid:>7}  tid {tid:>7}  {plain(who.comm):<15}"
        text += f"  stack {self._numbers.number(call.stack):>4}\n"
        line = b" " * Clocks.BYTES + text.encode()
        self._even &= len(line) == self._BYTES
        return self._numbers.note(line, call.stack)

    def end(self, summary: Summary) -> str:
        """The summary is for stderr; nothing more comes here."""
        return ""


class JsonOnce(JsonLines):
    """A JSON object a line, as of ``JsonLines``, with ``stack``; frames where that is new."""

    def __init__(self, symbolizer: Symbolizer, addresses: bool = True) -> None:
        super().__init__(symbolizer, addresses)
        self._numbers = StackNumbers()

    def pieces(self, batch: Batch) -> Sequence[bytes]:
        """Return a line for each event."""
        lines = batch.texts or self._calls.column(batch.calls)
        pieces = interleave(json_times(batch), lines) if lines else []
        for at, stack in self._numbers.shown(lines).items():
            members = stack_data(self._symbolizer.frames(stack), stack, self._addresses)
            pieces[2 * at + 1] = lines[at].removesuffix(b"}\n") + b"," + json_members(members)
        return pieces

    def call(self, call: Call) -> bytes:
        """See ``StreamReport.call``."""
        number = self._numbers.number(call.stack)
        return self._numbers.note(json_who(call) + b',"stack":%d}\n' % number, call.stack)
