# SPDX-License-Identifier: MIT
"""The opened stack of the live view, and its help."""

from __future__ import annotations

import textwrap

from kwalk.report.frame import frame_text
from kwalk.support.printable import plain
from kwalk.support.text import counted
from kwalk.tui.labels import path_of
from kwalk.tui.look import Line, Look, pad
from kwalk.tui.model import Model
from kwalk.tui.numbers import short
from kwalk.tui.rows import StackRow

_HELP = (
    ("up down j k", "select a stack; Home, End, PgUp, PgDn too"),
    ("Enter", "open it, all of its frames (PgUp, PgDn scroll); Esc closes"),
    ("s", "sort by rate, by total, by the names of the callers"),
    ("g", "each stack of each group; stacks only; groups only (with --per)"),
    ("/", "only stacks with a function that this regular expression finds"),
    ("Esc", "close the stack, or clear the filter"),
    ("p, space", "freeze the view; counting goes on"),
    ("+ -", "longer or shorter intervals"),
    ("w", "save what was counted so far, for kwalk report"),
    ("q, Ctrl-C", "quit, with the hottest stacks and the summary"),
)
_ABOUT = (
    "rate: calls a second in the last interval, not smoothed; share: of these.",
    "Bars: rates of the last intervals, the highest of the line a whole block.",
    "What all stacks shown begin and end with is in the second line, not in theirs.",
    "Ledger: calls = stacks + lost; recursion and missed kprobes come at the end.",
    "Cost: estimated; a share of the CPU time that the machine used.",
)


def draw(model: Model, row: StackRow, width: int, room: int, look: Look) -> list[Line]:
    """Return the frames of a row's stack under a line about it, in columns if that is needed."""
    if not row.stack or room < 2:
        return []
    names = [
        plain(element if isinstance(element, str) else frame_text(element))
        for element in path_of(row.stack)
    ]
    digits = len(str(len(names)))
    names = [f" {at:>{digits}} {name}" for at, name in enumerate(names)]
    column = min(max(map(len, names)) + 1, width)
    columns = min(max(1, width // column), -(-len(names) // (room - 1)))
    height = -(-len(names) // columns)
    shown = min(height, room - 1)
    model.scroll = min(model.scroll, height - shown)
    share = f", {100 * row.calls / model.calls:.1f} % of all" if model.calls else ""
    about = "about " if model.about else ""
    text = f" {about}{counted(round(row.calls), model.unit)}{share}; {short(row.rate)}/s "
    text += f"{look.between.strip()} {row.group} " if row.group else ""
    if height > shown:
        text += f"{look.between.strip()} PgDn: {height - shown} more "
    lines: list[Line] = [[("strong", pad(look.rule * 2 + plain(text), width, look.cut))]]
    for at in range(model.scroll, model.scroll + shown):
        parts = names[at::height]
        lines.append([("", "".join(pad(part, column, look.cut) for part in parts))])
    return lines


def help_lines(model: Model, width: int) -> list[Line]:
    """Return what keys do, what the columns are, and what else there is to know of this capture."""
    lines: list[Line] = [[("title", "kwalk top: keys")], []]
    lines += [[("key", f"  {key:<12}"), ("", text)] for key, text in _HELP]
    lines += [[], *([("dim", f"  {text}")] for text in _ABOUT)]
    if model.summary:
        notes = [f"not counted: {text}" for text in model.summary.ledger.uncounted]
        notes += [f"note: {text}" for text in model.summary.notes]
        for text in notes:
            parts = textwrap.wrap(plain(text), max(width - 4, 20), subsequent_indent="  ")
            lines += [[("say", f"  {part}")] for part in parts]
    return lines
