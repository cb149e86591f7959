# SPDX-License-Identifier: MIT
"""Output of ``kwalk count``: blocks of text, JSON objects, or folded lines."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count, Frame
from kwalk.report import summary as summaries
from kwalk.report.calls import whole_calls
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.frame import frame_data, stack_lines
from kwalk.report.top_n import last
from kwalk.support.printable import plain
from kwalk.support.text import counted, plural

SCHEMA = "kwalk.count/2"


class CountReport(Protocol):
    """Format of counts."""

    def interval(self, counts: list[Count], seconds: float, ended: float) -> str:
        """Return the text of an interval.

        :param seconds: Length of the interval.
        :param ended: End of the interval, in seconds since 1970.
        """

    def end(self, profile: ProfileData) -> str:
        """Return the text of the whole capture."""


def _calls(unit: str, *counts: Count) -> str:
    taken = sum(count.count for count in counts)
    calls = sum(count.calls for count in counts)
    if calls == taken:
        return counted(taken, unit)
    return f"about {counted(round(calls), unit)} ({taken:,} recorded)"


class CountText:
    """Blocks of text, the hottest stack last, next to the prompt.

    :param addresses: Show the address of each frame.
    :param top: Show this many of the hottest stacks; None for all.
    :param unit: Word for hits: ``calls``, ``samples`` or ``events``.
    """

    def __init__(self, addresses: bool, top: int | None, unit: str = "calls") -> None:
        self._unit = plain(unit)
        self._addresses = addresses
        self._top = top
        self._intervals = False

    def _stacks(self, counts: Sequence[Count]) -> str:
        total = sum(count.calls for count in counts)
        shown, left = last(counts, self._top)
        blocks = []
        if left:
            blocks.append(
                f"({plural(len(left), 'more stack')}, {_calls(self._unit, *left)}, "
                "left out by --top)\n\n"
            )
        for count in shown:
            share = 100 * count.calls / total if total else 0.0
            who = f"  {plain(str(count.group))}" if count.group else ""
            who += "  (by the kernel's unwinder)" * count.stack.fallback
            blocks.append(
                stack_lines(count.stack.frames, count.stack.truncated, self._addresses)
                + f"  {_calls(self._unit, count)}, {share:.1f} %{who}\n\n"
            )
        return "".join(blocks)

    def interval(self, counts: list[Count], seconds: float, ended: float) -> str:
        """Return the blocks under a line with the time of day, the seconds and the rate."""
        self._intervals = True
        rate = sum(count.calls for count in counts) / seconds
        at = time.strftime("%H:%M:%S", time.localtime(ended))
        head = f"--- {at}: {_calls(self._unit, *counts)} in {seconds:.1f} s, {rate:,.0f}/s\n\n"
        return head + self._stacks(counts)

    def end(self, profile: ProfileData) -> str:
        """Return the blocks, under a line ``--- total`` after intervals, without the summary."""
        return ("--- total\n\n" if self._intervals else "") + self._stacks(profile.counts)


class Folded:
    """Folded lines for flame graph tools, one a stack, root first: ``a;b;c 42``.

    Counts are whole numbers, scaled if sampled; their sum is the sum of all counts, rounded.

    :param callers: Put the traced function first.
    """

    def __init__(self, top: int | None, callers: bool = False) -> None:
        self._top = top
        self._callers = callers

    def interval(self, counts: list[Count], seconds: float, ended: float) -> str:
        """Return the lines of an interval."""
        return self._lines(counts)

    def end(self, profile: ProfileData) -> str:
        """Return the lines, without the summary."""
        return self._lines(profile.counts)

    def _lines(self, counts: list[Count]) -> str:
        sums: dict[str, int] = {}
        known: dict[Frame, str] = {}
        shown, _ = last(counts, self._top)
        for count, calls in zip(shown, whole_calls(shown), strict=True):
            names = []
            for frame in count.stack.frames:
                if (name := known.get(frame)) is None:
                    name = known[frame] = self._name(frame)
                names.append(name)
            names += [TRUNCATED] * count.stack.truncated
            names += [plain(_ENDS.sub(_instead, str(count.group)))] if count.group else []
            if not self._callers:
                names.reverse()
            # Names may contain spaces: tools split the line at the last one.
            line = ";".join(names)
            sums[line] = sums.get(line, 0) + calls
        return "".join(f"{line} {number}\n" for line, number in sums.items())

    @staticmethod
    def _name(frame: Frame) -> str:
        # The mark of inlined functions that flame graph tools know.
        name = function_name(frame._replace(inlined=False), source=False) + "_[i]" * frame.inlined
        return plain(_ENDS.sub(_instead, name))


# The separator of frames, and every line separator of Python or another language.
_ENDS = re.compile("[;\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def _instead(found: re.Match[str]) -> str:
    return ":" if found[0] == ";" else " "


def stacks_data(counts: Sequence[Count], addresses: bool, top: int | None) -> dict[str, Any]:
    """Return counts as JSON-ready data: ``stacks``, and ``left_out`` if ``top`` hides some."""
    shown, left = last(counts, top)
    stacks = [
        stack_data(count)
        | {"frames": [frame_data(frame, addresses) for frame in count.stack.frames]}
        for count in shown
    ]
    return {"stacks": stacks} | left_out(left)


def left_out(counts: Sequence[Count]) -> dict[str, Any]:
    """Return ``left_out``, the number and sum of counts that are not shown; {} for none."""
    return {"left_out": {"stacks": len(counts)} | _numbers(*counts)} if counts else {}


def _numbers(*counts: Count) -> dict[str, float]:
    data: dict[str, float] = {"count": sum(count.count for count in counts)}
    if counts[0].scaled is not None:
        data["scaled"] = sum(count.calls for count in counts)
    return data


def stack_data(count: Count) -> dict[str, Any]:
    """Return a count as JSON-ready data, without its frames."""
    data: dict[str, Any] = _numbers(count)
    if count.group:
        data |= count.group.as_data()
    return data | {"truncated": count.stack.truncated, "fallback": count.stack.fallback}


class Json:
    """JSON objects, one a line: each interval, then the whole capture with the summary.

    ``left_out`` sums up the stacks that ``top`` hides, so that counts add up to ``recorded``.
    """

    def __init__(self, addresses: bool, top: int | None) -> None:
        self._addresses = addresses
        self._top = top

    def _data(self, counts: list[Count]) -> dict[str, Any]:
        return stacks_data(counts, self._addresses, self._top)

    def interval(self, counts: list[Count], seconds: float, ended: float) -> str:
        """Return the object of an interval."""
        at = datetime.fromtimestamp(ended).astimezone()
        return self._line(
            {"ended": at.isoformat(timespec="milliseconds"), "interval_seconds": round(seconds, 6)}
            | stacks_data(counts, self._addresses, self._top)
        )

    def end(self, profile: ProfileData) -> str:
        """Return the last object: the members of the summary, and ``stacks``."""
        data = summaries.as_data(profile.summary, SCHEMA)
        return self._line(data | self._data(profile.counts))

    @staticmethod
    def _line(data: dict[str, Any]) -> str:
        return json.dumps(data, separators=(",", ":")) + "\n"
