# SPDX-License-Identifier: MIT
"""Footer of the live view: ledger, overhead, and the keys or a message."""

from __future__ import annotations

from kwalk.report.summary import kind_of, sum_text
from kwalk.support.text import counted, plural
from kwalk.tui.look import Line, Look
from kwalk.tui.model import Model, TracingCost

# An interval longer than this multiple of the chosen one is reported: drawing was too slow.
LATE = 1.5
_KEYS = (
    ("q", "quit"),
    ("?", "help"),
    ("Enter", "open"),
    ("s", "sort"),
    ("g", "group"),
    ("/", "filter"),
    ("p", "freeze"),
    ("+-", "pace"),
    ("w", "save"),
)


def draw(model: Model, look: Look) -> list[Line]:
    """Return the footer; its last line is a prompt, a message, or the keys."""
    lines = [*ledger(model), how(model, look)]
    if model.sampling:
        lines.append([("dim", model.sampling)])
    return [*lines, _last(model, look)]


def ledger(model: Model) -> list[Line]:
    """Return the ledger's line and, if any cause has hits, a line of causes."""
    if not model.summary:
        return [[("dim", "nothing has been read yet")]]
    found = model.summary.ledger
    lost = sum(found.lost.values())
    rest, _, end = sum_text(found).rpartition(" + ")
    head: Line = [("", f"ledger: {counted(found.hits, model.unit)} = {rest}")]
    head.append(("warn" if lost else "", f" + {end}"))
    # Hits are read after the counts, while calls continue.
    head += [("", f" + {found.balance:,} under way")] if found.balance else []
    parts = []
    for cause, number in sorted(found.causes.items(), key=lambda item: -item[1]):
        parts.append(f"{kind_of(cause)}: {number:,} {cause}")
    parts += [f"truncated: {found.truncated:,}"] if found.truncated else []
    parts += [f"fallback: {found.fallback:,}"] if found.fallback else []
    return [head, [("warn" if lost else "dim", f"  {', '.join(parts)}")]] if parts else [head]


def how(model: Model, look: Look) -> Line:
    """Return the line of method, interval and overhead."""
    line: Line = []
    if model.summary:
        line.append(("dim", f"{model.summary.method} by {model.summary.attach}{look.between}"))
    line.append(("dim", f"every {model.interval:g} s"))
    if model.length > LATE * model.interval:
        line.append(("say", f" (took {model.length:.1f} s)"))
    if model.cost:
        line.append(("dim", f"{look.between}cost: {cost_text(model.cost)}"))
    return line


def cost_text(cost: TracingCost) -> str:
    """Format the overhead of the BPF programs and of kwalk's process."""
    programs = "?" if cost.programs is None else f"{100 * cost.programs:.1f}%"
    return f"programs {programs} + kwalk {100 * cost.reader:.1f}% of CPU time"


def _last(model: Model, look: Look) -> Line:
    if model.prompt:
        filters = model.prompt.filters
        hint = "Enter keeps it, Esc clears it" if filters else "Enter saves, Esc cancels"
        return [
            ("strong", f"{model.prompt.question}: "),
            ("selected" if model.prompt.fresh and model.prompt.text else "", model.prompt.text),
            ("", "_" if look.cut == "~" else "▏"),
            ("dim", f"  ({hint})"),
        ]
    if model.said:
        return [("say", model.said)]
    line: Line = []
    for key, text in _KEYS:
        if key != "g" or model.per:
            line += [("", "  " if line else ""), ("key", key), ("", f" {text}")]
        if key == "?" and model.summary:
            notes = len(model.summary.notes) + len(model.summary.ledger.uncounted)
            line += [("say", f" ({plural(notes, 'note')})")] if notes else []
    return line
