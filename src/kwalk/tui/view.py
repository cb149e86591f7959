# SPDX-License-Identifier: MIT
"""Screen of the live view: title, a line per stack, the opened stack, the footer."""

from __future__ import annotations

from kwalk.model.stack import Stack
from kwalk.support.printable import plain
from kwalk.support.text import counted, plural
from kwalk.tui import detail, footer
from kwalk.tui.labels import labels
from kwalk.tui.look import Line, Look, bars, cells, cut, pad
from kwalk.tui.model import Grouping, Model, Order
from kwalk.tui.numbers import length, short, whole
from kwalk.tui.rows import KEPT, StackRow

# Below this width a bar covers two intervals, and there are fewer bars.
NARROW = 100
NARROW_BARS = 10
MOST_GROUP = 20
# Rows that stay visible beside an opened stack.
LEAST_ROWS = 3
# Labels are made for at most this multiple of the visible stacks.
MORE = 3
_NUMBERS = 6 + 1 + 6 + 1 + 9 + 1


class View:
    """Drawing of a model, with a cache of the labels of stacks."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._widths = 0, 0
        self._groups = 0
        self._made: dict[Stack, str] = {}
        self._common = ""

    def draw(self, model: Model, width: int, height: int) -> list[Line]:
        """Return exactly ``height`` lines of at most ``width`` columns."""
        look = self._look
        below = footer.draw(model, look)
        room = max(0, height - 3 - len(below))
        top: list[Line] = []
        if model.help:
            room += 3
            body = detail.help_lines(model, width)
        else:
            top, body = self._list(model, width, room)
        body = [*body[:room], *([] for _ in range(room - len(body)))]
        # On a very small screen the top lines take precedence.
        return [cut(line, width, look.cut) for line in [*top, *body, *below][:height]]

    def _list(self, model: Model, width: int, room: int) -> tuple[list[Line], list[Line]]:
        rows = model.rows()
        pane: list[Line] = []
        if model.opened and model.selected:
            least = min(LEAST_ROWS, len(rows), room)
            pane = detail.draw(model, model.selected, width, room - least, self._look)
        model.look(room - len(pane))
        shown = rows[model.first : model.first + model.page]
        number = NARROW_BARS if width < NARROW else min(width // 4, KEPT)
        groups = 0
        if model.grouping == Grouping.BOTH:
            # The column never narrows again, so that the labels beside it stay the same.
            widest = max((cells(_group(row)) for row in shown), default=0)
            groups = self._groups = max(min(MOST_GROUP, widest) + 1, self._groups)
        left = width - 2 - _NUMBERS - number - 1 - groups
        self._label({row.stack for row in shown if row.stack}, max(left, 8), width - 9)
        body = []
        for at, row in enumerate(shown, model.first):
            text = self._made[row.stack] if row.stack else _group(row)
            body.append(self._row(model, row, at == model.cursor, number, groups, text, width))
        if not rows:
            body = [[("dim", _why_empty(model))]]
        body += [[] for _ in range(room - len(pane) - len(body))]
        head = self._head(model, number, groups, width)
        common: Line = [("dim", f"in all: {self._common}")] if self._common else []
        return [self._title(model, width), common, head], body + pane

    def _label(self, shown: set[Stack], width: int, common: int) -> None:
        """Update ``_made`` so that every visible stack has a label.

        Labels stay the same although some stacks are no longer visible: labels that change with
        every new order are hard to read, and expensive.
        """
        same = self._widths == (width, common)
        known = self._made.keys() if same else set()
        if shown <= known and len(known) <= MORE * len(shown):
            return
        together = shown | known
        stacks = list(together if len(together) <= MORE * len(shown) else shown)
        made = labels(stacks, width, common, self._look.marks)
        self._widths, self._common = (width, common), made.common
        self._made = dict(zip(stacks, made.lines, strict=True))

    def _title(self, model: Model, width: int) -> Line:
        about = "about " if model.about else ""
        line: Line = [("title", f"kwalk top {plain(model.function)}")]
        line += [("say", "  frozen")] if model.frozen else []
        if model.filter and not model.prompt:
            line.append(("say", f"  filter: {plain(model.filter)}"))
        shown = len(model.rows())
        of = f"{shown:,} of " if shown != model.total_rows else ""
        what = "group" if model.grouping == Grouping.GROUPS else "stack"
        line.append(("rate", f"  {about}{short(model.rate)}/s"))
        line.append(("", f"  {about}{counted(whole(model.calls), model.unit)}"))
        line.append(("", f"  {of}{plural(model.total_rows, what)}  {length(model.seconds)}"))
        left = width - sum(cells(text) for _, text in line) - 2
        rates = list(model.rates)[-max(left, 0) :] if left >= 8 else []
        return [*line, ("", "  "), ("bars", bars(rates, self._look))]

    def _head(self, model: Model, number: int, groups: int, width: int) -> Line:
        def title(text: str, order: Order) -> str:
            return text + (self._look.sorted if model.order == order else "")

        stack = model.per if model.grouping == Grouping.GROUPS else f"callers of {model.function}"
        span = f"last {number} x {model.interval:g} s"
        if width < NARROW:
            span = f"{2 * number} x {model.interval:g} s"
        text = (
            f"  {title('rate/s', Order.RATE):>6} {'share':>6} {title('total', Order.TOTAL):>9} "
            f"{span:<{number}} "
        )
        # With the mark, the title is a column wider than the rates.
        text = text.replace("rate/s" + self._look.sorted + " ", "rate/s" + self._look.sorted, 1)
        text += pad(model.per, groups - 1, self._look.cut) + " " if groups else ""
        shown = min(model.page, len(model.rows()) - model.first)
        end = f" {model.first + 1}-{model.first + shown} of {len(model.rows()):,}"
        end = end if shown < len(model.rows()) else ""
        text = pad(text + title(plain(stack), Order.NAME), width - len(end), self._look.cut)
        return [("head", text + end)]

    def _row(
        self,
        model: Model,
        row: StackRow,
        selected: bool,
        number: int,
        groups: int,
        text: str,
        width: int,
    ) -> Line:
        look = self._look
        share = f"{100 * row.rate / model.rate:.1f}%" if model.rate else ""
        line: Line = [
            ("", f"{look.chosen if selected else ' '} "),
            ("rate" if row.rate else "dim", f"{short(row.rate):>6}"),
            ("", f" {share:>6} {whole(row.calls):>9} "),
            ("bars", bars(row.rates(model.tick, number, 2 if width < NARROW else 1), look)),
            ("", " "),
        ]
        if groups:
            line.append(("strong", pad(_group(row), groups - 1, look.cut) + " "))
        line.append(("", text))
        if selected:
            return [("selected", pad("".join(part for _, part in line), width, look.cut))]
        return line


def _group(row: StackRow) -> str:
    return plain(str(row.group)) if row.group else ""


def _why_empty(model: Model) -> str:
    if model.total_rows:
        return "no stack matches the filter; Esc clears it"
    if not model.tick:
        return f"the first interval ends in {model.interval:g} s"
    return f"nothing has called {plain(model.function)} yet"
