# SPDX-License-Identifier: MIT
"""What the live view knows and what keys do to it; no clock, no terminal, no kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Group, Stack
from kwalk.report.calltree import function_name
from kwalk.tui.prompt import Prompt, pattern_of
from kwalk.tui.rows import KEPT, Book, Key, StackRow

SAID_INTERVALS = 5
PAGE = 10


class Order(Enum):
    """By what rows are sorted."""

    RATE = "rate"
    TOTAL = "total"
    NAME = "name"


class Grouping(Enum):
    """What a row is."""

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
    """What tracing cost of late, as shares of the CPU time that the machine used.

    :ivar programs: None where the kernel does not tell.
    """

    programs: float | None
    reader: float


class Model:
    """State of the view.

    :param function: What is traced.
    :param unit: What is counted.
    :param per: What ``--per`` names; "" where groups are not told apart.
    :param top: Show so many rows at most.
    :ivar name_for_file: What a recording is called if the user does not name it.
    :ivar seconds: Since tracing began, when it was last looked at.
    :ivar length: Of the last interval, in seconds.
    :ivar summary: As it was then; None before.
    :ivar chosen: The selected row, where it is not simply the first.
    :ivar first: The row at the top of the list.
    :ivar scroll: Of the opened stack, frames that lie above what is shown.
    """

    def __init__(
        self, function: str, unit: str, per: str = "", top: int | None = None, interval: float = 1.0
    ) -> None:
        self.function, self.unit, self.per, self.top = function, unit, per, top
        self.interval = interval
        self.name_for_file = "kwalk-top.rec"
        self.grouping = Grouping.BOTH if per else Grouping.STACKS
        self._whole = Book(_KEYS[self.grouping])
        self._books = {self.grouping: self._whole}
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
        self, counts: list[Count], length: float, summary: Summary, cost: TracingCost | None = None
    ) -> None:
        """Take what was counted so far.

        :param length: Seconds since the last time.
        """
        self.tick += 1
        self.seconds += length
        self.length = length
        self.summary, self.cost = summary, cost
        self.about = any(count.scaled is not None for count in counts)
        for book in self._books.values():
            book.feed(counts, self.tick, length)
        calls = sum(count.calls for count in counts)
        self.rate = max(0.0, (calls - self.calls) / length)
        self.calls = calls
        self.rates.append(self.rate)
        if self.tick >= self._said_until:
            self.said = ""
        self._shown = None

    def say(self, text: str) -> None:
        """Show a line for some intervals, or until the next key."""
        self.said, self._said_until = text, self.tick + SAID_INTERVALS

    def tell_sampling(self, text: str) -> None:
        """Show how a budget is kept."""
        self.sampling = text

    @property
    def _book(self) -> Book:
        if self.grouping not in self._books:
            self._books[self.grouping] = self._whole.regrouped(_KEYS[self.grouping])
        return self._books[self.grouping]

    @property
    def total_rows(self) -> int:
        """How many there are, shown or not."""
        return len(self._book)

    def rearrange(self) -> None:
        """Choose and sort the rows anew: order, grouping, filter or prompt have changed."""
        self._shown = None

    def rows(self) -> list[StackRow]:
        """Return the rows to be shown, in order."""
        if self._shown is None:
            found = [row for row in self._book.rows if self._wanted(row)]
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
        """The index of the selected row; the first, unless another one was chosen."""
        wanted = self._book.get(self.chosen)
        rows = self.rows()
        return rows.index(wanted) if wanted in rows else 0

    @property
    def selected(self) -> StackRow | None:
        """The selected row."""
        rows = self.rows()
        return rows[self.cursor] if rows else None

    def look(self, page: int) -> None:
        """Have the selected row among those that are shown.

        :param page: Rows that there is room for.
        """
        self.page = max(page, 1)
        cursor = self.cursor
        last = max(0, len(self.rows()) - self.page)
        self.first = min(max(self.first, cursor - self.page + 1), cursor, last)


def _names(row: StackRow) -> tuple[list[str], str]:
    frames = row.stack.frames if row.stack else ()
    return [function_name(frame) for frame in frames], str(row.group or "")
