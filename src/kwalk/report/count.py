# SPDX-License-Identifier: MIT
"""Stacks with their counts: blocks of text, one JSON object, or folded lines."""

from __future__ import annotations

import json
from typing import Any, Protocol

from kwalk.profile import Count, Profile, Summary
from kwalk.report import summary as summaries
from kwalk.report.frame import frame_data, frame_text
from kwalk.symbolize.symbolizer import Symbolizer

SCHEMA = "kwalk.count/1"


class CountReport(Protocol):
    """Turns counts into text."""

    def interval(self, counts: list[Count], seconds: float) -> str:
        """Return what was counted in an interval of some seconds."""

    def end(self, profile: Profile) -> str:
        """Return what was counted in all."""


def _process(count: Count) -> str:
    return f"{count.process.comm} ({count.process.tgid})" if count.process else ""


class Text:
    """For people: the hottest stack last, where the eye is when the program ends.

    :param top: Show so many stacks at most, the hottest; None for all.
    """

    def __init__(self, symbolizer: Symbolizer, addresses: bool, top: int | None) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._top = top

    def _stacks(self, counts: list[Count]) -> str:
        total = sum(count.count for count in counts)
        shown = counts[-self._top :] if self._top else counts
        blocks = []
        if len(shown) < len(counts):
            rest = sum(count.count for count in counts[: -len(shown)])
            number = len(counts) - len(shown)
            blocks.append(f"({number:,} more stacks, {rest:,} calls: --top shows the hottest)\n\n")
        for count in shown:
            share = 100 * count.count / total
            who = f"  {_process(count)}" if count.process else ""
            blocks.append(f"{self._frames(count)}  {count.count:,} calls, {share:.1f} %{who}\n\n")
        return "".join(blocks)

    def _frames(self, count: Count) -> str:
        lines = []
        for frame in self._symbolizer.frames(count.stack):
            address = f"{frame.address:016x}  " if self._addresses else ""
            lines.append(f"    {address}{frame_text(frame)}\n")
        if count.stack.truncated:
            lines.append("    ... (truncated)\n")
        return "".join(lines)

    def interval(self, counts: list[Count], seconds: float) -> str:
        """Return the blocks under a line that says of which seconds they are."""
        total = sum(count.count for count in counts)
        head = f"--- {total:,} calls in {seconds:.1f} s, {total / seconds:,.0f}/s\n\n"
        return head + self._stacks(counts)

    def end(self, profile: Profile) -> str:
        """Return the blocks; the summary is for stderr."""
        return self._stacks(profile.counts)


class Folded:
    """One line a stack, root first, for flame graph tools: ``a;b;c 42``."""

    def __init__(self, symbolizer: Symbolizer, top: int | None) -> None:
        self._symbolizer = symbolizer
        self._top = top

    def interval(self, counts: list[Count], seconds: float) -> str:
        """Return the lines of an interval."""
        return self._lines(counts)

    def end(self, profile: Profile) -> str:
        """Return the lines; the summary is for stderr."""
        return self._lines(profile.counts)

    def _lines(self, counts: list[Count]) -> str:
        sums: dict[str, int] = {}
        for count in counts[-self._top :] if self._top else counts:
            names = [
                frame.name or f"{frame.address:#x}"
                for frame in self._symbolizer.frames(count.stack)
            ]
            names += ["[truncated]"] if count.stack.truncated else []
            # A semicolon ends a frame; spaces are allowed, the last one is before the number.
            names += [_process(count).replace(";", ":")] if count.process else []
            line = ";".join(reversed(names))
            sums[line] = sums.get(line, 0) + count.count
        return "".join(f"{line} {number}\n" for line, number in sums.items())


class Json:
    """One JSON object a line: intervals as they come, then all of it with the summary."""

    def __init__(self, symbolizer: Symbolizer, addresses: bool, top: int | None) -> None:
        self._symbolizer = symbolizer
        self._addresses = addresses
        self._top = top

    def _stacks(self, counts: list[Count]) -> list[dict[str, Any]]:
        stacks = []
        for count in counts[-self._top :] if self._top else counts:
            stack = count.stack
            frames = [frame_data(f, self._addresses) for f in self._symbolizer.frames(stack)]
            data: dict[str, Any] = {"count": count.count}
            if count.process:
                data |= {"pid": count.process.tgid, "comm": count.process.comm}
            data |= {"frames": frames, "truncated": stack.truncated, "fallback": stack.fallback}
            stacks.append(data)
        return stacks

    def interval(self, counts: list[Count], seconds: float) -> str:
        """Return the object of an interval."""
        data = {"interval_seconds": round(seconds, 6), "stacks": self._stacks(counts)}
        return json.dumps(data, separators=(",", ":")) + "\n"

    def end(self, profile: Profile) -> str:
        """Return the last object: the members of the summary, and ``stacks``."""
        data = _summary(profile.summary) | {"stacks": self._stacks(profile.counts)}
        return json.dumps(data, separators=(",", ":")) + "\n"


def _summary(summary: Summary) -> dict[str, Any]:
    return summaries.as_data(summary, SCHEMA)
