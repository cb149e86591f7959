# SPDX-License-Identifier: MIT
"""Model of the live view: rows, order, filter, selection. It knows no clock, terminal or kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Group, Stack
from kwalk.report.calltree import function_name
from kwalk.tui.prompt import Prompt, pattern_of
from kwalk.tui.rows import KEPT, Key, RowTable, StackRow

SAID_INTERVALS = 5
PAGE = 10


class Order(Enum):
    """Sort key of the rows."""

    RATE = "rate"
    TOTAL = "total"
    NAME = "name"


class Grouping(Enum):
    """Key that rows aggregate by."""

    BOTH = "stacks and groups"
    STACKS = "stacks"
    GROUPS = "groups"


_KEYS: dict[Grouping, Callable[[Stack | None, Group | None], Key]] = {
    Grouping.BOTH: lambda stack, group: (stack, group),
    Grouping.STACKS: lambda stack, group: (stack, None),
    Grouping.GROUPS: lambda stack, group: (None, group),
}


@dataclass(frozen=True)
class TracingCost:
    """Overhead in the last intervals, as shares of the CPU time that the machine used.

    :ivar programs: Share of the BPF programs; None if the kernel does not measure it.
    :ivar reader: Share of kwalk's process.
    """

    programs: float | None
    reader: float


class Model:
    """Model of the live view.

    :param function: Name of the traced function.
    :param unit: Unit of the counts, see ``Summary.unit``.
    :param per: Argument of ``--per``; "" without.
    :param top: Maximum number of rows to show; None for no limit.
    :param interval: Seconds between two updates.
    :ivar name_for_file: Default name of a recording.
    :ivar seconds: Time from the start of tracing to the last update, in seconds.
    :ivar length: Length of the last interval, in seconds.
    :ivar about: Counts are estimates, scaled up from samples.
    :ivar summary: Summary at the last update; None before the first.
    :ivar chosen: Key of the pinned row; None: the selection stays on the first row.
    :ivar first: Index of the row at the top of the screen.
    :ivar scroll: Lines of the opened stack above the visible ones.
    """

    def __init__(
        self, function: str, unit: str, per: str = "", top: int | None = None, interval: float = 1.0
    ) -> None:
        self.function, self.unit, self.per, self.top = function, unit, per, top
        self.interval = interval
        self.name_for_file = "kwalk-top.rec"
        self.grouping = Grouping.BOTH if per else Grouping.STACKS
        self._whole = RowTable(_KEYS[self.grouping])
        self._tables = {self.grouping: self._whole}
        self.tick, self.seconds, self.length = 0, 0.0, 0.0
        self.calls, self.rate = 0.0, 0.0
        self.rates: deque[float] = deque(maxlen=KEPT)
        self.about = False
        self.summary: Summary | None = None
        self.cost: TracingCost | None = None
        self.sampling = ""
        self.order = Order.RATE
        self.filter = ""
        self.frozen = self.help = self.opened = False
        self.prompt: Prompt | None = None
        self.chosen: Key | None = None
        self.first = self.scroll = 0
        self.page = PAGE
        self.said = ""
        self._said_until = 0
        self._shown: list[StackRow] | None = None

    def feed(
        self,
        counts: Sequence[Count],
        length: float,
        summary: Summary,
        cost: TracingCost | None = None,
    ) -> None:
        """Update the model with all counts since the start of tracing.

        :param length: Seconds since the last update.
        """
        self.tick += 1
        self.seconds += length
        self.length = length
        self.summary, self.cost = summary, cost
        self.about = any(count.scaled is not None for count in counts)
        for table in self._tables.values():
            table.feed(counts, self.tick, length)
        calls = sum(count.calls for count in counts)
        self.rate = max(0.0, (calls - self.calls) / length)
        self.calls = calls
        self.rates.append(self.rate)
        if self.tick >= self._said_until:
            self.said = ""
        self._shown = None

    def say(self, text: str) -> None:
        """Show a message for some intervals, or until the next key."""
        self.said, self._said_until = text, self.tick + SAID_INTERVALS

    def tell_sampling(self, text: str) -> None:
        """Set the footer's line on sampling (``--budget``)."""
        self.sampling = text

    @property
    def _table(self) -> RowTable:
        if self.grouping not in self._tables:
            self._tables[self.grouping] = self._whole.regrouped(_KEYS[self.grouping])
        return self._tables[self.grouping]

    @property
    def total_rows(self) -> int:
        """Number of rows, hidden ones included."""
        return len(self._table)

    def rearrange(self) -> None:
        """Filter and sort the rows anew; call it after order, grouping, filter or prompt change."""
        self._shown = None

    def rows(self) -> list[StackRow]:
        """Return the filtered and sorted rows, at most ``top``."""
        if self._shown is None:
            found = [row for row in self._table.rows if self._wanted(row)]
            if self.order == Order.RATE:
                found.sort(key=lambda row: (-row.rate, -row.calls))
            elif self.order == Order.TOTAL:
                found.sort(key=lambda row: -row.calls)
            else:
                found.sort(key=_names)
            self._shown = found[: self.top]
        return self._shown

    def _wanted(self, row: StackRow) -> bool:
        text = self.prompt.text if self.prompt and self.prompt.filters else self.filter
        if not text:
            return True
        if row.stack is None:
            return bool(pattern_of(text).search(str(row.group)))
        pattern = pattern_of(text)
        return any(pattern.search(function_name(frame)) for frame in row.stack.frames)

    @property
    def cursor(self) -> int:
        """Index of the selected row: the pinned one if it is shown, else the first."""
        wanted = self._table.get(self.chosen)
        rows = self.rows()
        return rows.index(wanted) if wanted in rows else 0

    @property
    def selected(self) -> StackRow | None:
        """The selected row; None if there are no rows."""
        rows = self.rows()
        return rows[self.cursor] if rows else None

    def look(self, page: int) -> None:
        """Scroll the list so that the selected row is visible.

        :param page: Number of rows that fit on the screen.
        """
        self.page = max(page, 1)
        cursor = self.cursor
        last = max(0, len(self.rows()) - self.page)
        self.first = min(max(self.first, cursor - self.page + 1), cursor, last)


def _names(row: StackRow) -> tuple[list[str], str]:
    frames = row.stack.frames if row.stack else ()
    return [function_name(frame) for frame in frames], str(row.group or "")
