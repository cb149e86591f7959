# SPDX-License-Identifier: MIT
"""Output of ``kwalk count``: blocks of text, JSON objects, or folded lines."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from kwalk.model.builder import added_up
from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.report import summary as summaries
from kwalk.report.calls import whole_calls
from kwalk.report.calltree import TRUNCATED, FunctionNames, function_name
from kwalk.report.frame import frame_data, frame_line, joined_lines
from kwalk.report.rows import CellKey, Column, cells, texts
from kwalk.report.top_n import last
from kwalk.support.memo import Memo
from kwalk.support.printable import plain
from kwalk.support.text import counted, plural

SCHEMA = "kwalk.count/2"


class CountReport(Protocol):
    """Format of counts."""

    def interval(self, counts: Sequence[Count], seconds: float, ended: float) -> str:
        """Return the text of an interval.

        :param seconds: Length of the interval.
        :param ended: End of the interval, in seconds since 1970.
        """

    def end(self, profile: ProfileData) -> str:
        """Return the text of the whole capture."""


def _calls(unit: str, counts: Sequence[Count]) -> str:
    columns = Counts.of(counts)
    return _calls_text(unit, sum(columns.numbers), sum(columns.calls))


def _calls_text(unit: str, taken: int, calls: float) -> str:
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

    def stacks(self, counts: Sequence[Count]) -> Iterator[str]:
        """Yield the blocks in pieces."""
        counts = Counts.of(counts)
        total = sum(counts.calls)
        shown, left = last(counts, self._top)
        if left:
            yield (
                f"({plural(len(left), 'more stack')}, {_calls(self._unit, left)}, "
                "left out by --top)\n\n"
            )

        line = FunctionNames(lambda frame: frame_line(frame, self._addresses))

        def lines(stack: Stack) -> str:
            return joined_lines(map(line.of, stack.frames), stack.truncated)

        def number(pair: tuple[int, float | None]) -> str:
            taken, scaled = pair
            calls = taken if scaled is None else scaled
            share = 100 * calls / total if total else 0.0
            return f"  {_calls_text(self._unit, taken, calls)}, {share:.1f} %"

        def who(group: Group | None) -> str:
            return f"  {plain(str(group))}" if group else ""

        def end(stack: Stack) -> str:
            return "  (by the kernel's unwinder)" * stack.fallback + "\n\n"

        yield from texts(
            Counts.of(shown),
            (CellKey.STACK, lines),
            (CellKey.NUMBER, number),
            (CellKey.GROUP, who),
            (CellKey.STACK, end),
        )

    def interval(self, counts: Sequence[Count], seconds: float, ended: float) -> str:
        """Return the blocks under a line with the time of day, the seconds and the rate."""
        self._intervals = True
        rate = sum(Counts.of(counts).calls) / seconds
        at = time.strftime("%H:%M:%S", time.localtime(ended))
        head = f"--- {at}: {_calls(self._unit, counts)} in {seconds:.1f} s, {rate:,.0f}/s\n\n"
        return head + "".join(self.stacks(counts))

    def end(self, profile: ProfileData) -> str:
        """Return the blocks, under a line ``--- total`` after intervals, without the summary."""
        blocks = "".join(self.stacks(profile.counts))
        return ("--- total\n\n" if self._intervals else "") + blocks


class Folded:
    """Folded lines for flame graph tools, one a stack, root first: ``a;b;c 42``.

    Counts are whole numbers, scaled if sampled; their sum is the sum of all counts, rounded.

    :param callers: Put the traced function first.
    """

    def __init__(self, top: int | None, callers: bool = False) -> None:
        self._top = top
        self._callers = callers
        self._names = FunctionNames(_frame_name)

    def interval(self, counts: Sequence[Count], seconds: float, ended: float) -> str:
        """Return the lines of an interval."""
        return "".join(self.lines(counts))

    def end(self, profile: ProfileData) -> str:
        """Return the lines, without the summary."""
        return "".join(self.lines(profile.counts))

    def lines(self, counts: Sequence[Count]) -> Iterator[str]:
        """Yield the lines in pieces; stacks whose functions have the same names share one."""
        shown = Counts.of(last(counts, self._top)[0])
        paths, names = Memo(self._path), Memo(_group_name)
        whole = Counts(
            *(shown.stacks, shown.groups, shown.stack_of, shown.group_of),
            list(whole_calls(shown)),
        )
        found = added_up(whole, paths.__getitem__, names.__getitem__)
        columns: list[Column] = [
            (CellKey.GROUP, names.__getitem__),
            (CellKey.STACK, paths.__getitem__),
        ]
        if self._callers:
            columns.reverse()
        for piece in cells(found, *columns, (CellKey.NUMBER, itemgetter(0))):
            # Names may contain spaces: tools split the line at the last one.
            lines = [f"{a}{';' if a and b else ''}{b} {calls}\n" for a, b, calls in piece]
            yield "".join(lines)

    def _path(self, stack: Stack) -> str:
        names = [*map(self._names.of, stack.frames), *[TRUNCATED] * stack.truncated]
        return ";".join(names if self._callers else reversed(names))


def _group_name(group: Group | None) -> str:
    return plain(_ENDS.sub(_instead, str(group))) if group else ""


def _frame_name(frame: Frame) -> str:
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
        number_data((count.count, count.scaled))
        | (count.group.as_data() if count.group else {})
        | stack_data(count.stack, [frame_data(frame, addresses) for frame in count.stack.frames])
        for count in shown
    ]
    return {"stacks": stacks} | left_out(left)


def left_out(counts: Sequence[Count]) -> dict[str, Any]:
    """Return ``left_out``, the number and sum of counts that are not shown; {} for none."""
    if not counts:
        return {}
    columns = Counts.of(counts)
    scaled = sum(columns.calls) if counts[0].scaled is not None else None
    return {"left_out": {"stacks": len(counts)} | number_data((sum(columns.numbers), scaled))}


def number_data(pair: tuple[int, float | None]) -> dict[str, float]:
    """Return the recorded hits of a count, and the scaled ones, as JSON-ready data."""
    count, scaled = pair
    return {"count": count} if scaled is None else {"count": count, "scaled": scaled}


def stack_data(stack: Stack, frames: Sequence[Any]) -> dict[str, Any]:
    """Return a stack as JSON-ready data."""
    return {"truncated": stack.truncated, "fallback": stack.fallback, "frames": frames}


class Json:
    """JSON objects, one a line: each interval, then the whole capture with the summary.

    ``left_out`` sums up the stacks that ``top`` hides, so that counts add up to ``recorded``.
    """

    def __init__(self, addresses: bool, top: int | None) -> None:
        self._addresses = addresses
        self._top = top

    def _data(self, counts: Sequence[Count]) -> dict[str, Any]:
        return stacks_data(counts, self._addresses, self._top)

    def interval(self, counts: Sequence[Count], seconds: float, ended: float) -> str:
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
