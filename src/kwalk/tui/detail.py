# SPDX-License-Identifier: MIT
"""Opened stack and help page of the live view."""

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
    ("Enter", "open it to see all frames (PgUp, PgDn scroll); Esc closes"),
    ("s", "sort by rate, by total, by the names of the callers"),
    ("g", "each stack of each group; stacks only; groups only (with --per)"),
    ("/", "show only stacks with a function matching a regular expression"),
    ("Esc", "close the stack, or clear the filter"),
    ("p, space", "freeze the view; counting continues"),
    ("+ -", "longer or shorter intervals"),
    ("w", "save the counts so far, for kwalk report"),
    ("q, Ctrl-C", "quit, with the hottest stacks and the summary"),
)
_ABOUT = (
    "rate: calls per second in the last interval, not smoothed; share: percent of all rates.",
    "Bars: rates of the last intervals, scaled to the highest of the line.",
    "The second line has the frames common to all stacks shown; their own lines omit them.",
    "Ledger: calls = stacks + lost; recursion and missed kprobes are added at the end.",
    "Cost: estimated share of the CPU time that the machine used.",
)


def draw(model: Model, row: StackRow, width: int, room: int, look: Look) -> list[Line]:
    """Return a row's opened stack: a title line, then the frames, in columns if necessary."""
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
    """Return the help page: keys, columns, and the notes of this capture."""
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
