# SPDX-License-Identifier: MIT
"""Output of ``kwalk top`` without a terminal to draw on: a block of lines per interval."""

from __future__ import annotations

import time

from kwalk.support.printable import plain
from kwalk.support.text import counted, plural
from kwalk.tui import footer
from kwalk.tui.labels import labels
from kwalk.tui.look import Look, text_of
from kwalk.tui.model import Model
from kwalk.tui.numbers import length, short, whole


def block(model: Model, width: int, look: Look, at: float) -> str:
    """Return the hottest stacks of the last interval, a line each, and the current ledger.

    :param at: End of the interval, in seconds since 1970.
    """
    about = "about " if model.about else ""
    rows = [row for row in model.rows() if row.rate]
    stacks = list(dict.fromkeys(row.stack for row in rows if row.stack))
    made = labels(stacks, max(width - 26, 30), width - 11, look.marks)
    names = dict(zip(stacks, made.lines, strict=True))
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    lines = [
        f"--- {clock}, {length(model.seconds)}: {about}{short(model.rate)}/s, "
        f"{about}{counted(round(model.calls), model.unit)}, {plural(model.total_rows, 'stack')}"
    ]
    lines += [f"  in all: {made.common}"] if made.common else []
    for row in rows:
        group = f"{plain(str(row.group))}: " if row.group else ""
        name = names[row.stack] if row.stack else ""
        # Scaled calls are estimates: their sum may not have grown although a row's did.
        share = f"{100 * row.rate / model.rate:.1f}%" if model.rate else ""
        lines.append(f"{short(row.rate):>6}/s {share:>6} {whole(row.calls):>9}  {group}{name}")
    lines += ["  " + text_of(line) for line in footer.ledger(model)]
    if model.cost:
        lines.append(f"  cost: {footer.cost_text(model.cost)}")
    return "\n".join(lines) + "\n\n"
