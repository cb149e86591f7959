# SPDX-License-Identifier: MIT
"""Comparison of the helper with the walk, as a self-contained HTML page."""

from __future__ import annotations

from kwalk.model.comparison import Comparison, FramePair, Pair, PairKind, Sides, by_kind, events_of
from kwalk.model.ledger import Ledger
from kwalk.report.compare import text as compare
from kwalk.report.frame import frame_text
from kwalk.report.html import escape, file, page, template
from kwalk.report.summary import CAUSES, kind_of
from kwalk.support.text import counted

_ARROW = "\N{RIGHTWARDS ARROW}"


def as_html(comparison: Comparison, top: int = 10, addresses: bool = False) -> str:
    """Return the HTML page.

    :param top: Most frequent pairs of stacks of each kind to show.
    :param addresses: Show the address of each frame.
    """
    kinds = by_kind(comparison).items()
    body = template("compare_page.html").substitute(
        heading=escape(compare.title(comparison)),
        subtitle=escape(compare.subtitle(comparison)),
        verdicts="".join(
            f"<p>{escape(text.replace(compare.MARK, _ARROW))}</p>"
            for text in compare.verdicts(comparison)
        ),
        bars=_bars(comparison),
        kinds="\n".join(_kind(kind, pairs, comparison, top, addresses) for kind, pairs in kinds),
        ledger=_ledger(comparison),
        notes="".join(f"<li>{escape(note)}</li>" for note in compare.notes(comparison)),
    )
    css = file("compare_page.css") + _widths(comparison)
    return page(f"kwalk compare: {comparison.function}", css, body)


def _bars(comparison: Comparison) -> str:
    """Return a bar for the cost of an event by each method."""
    lines = [
        f'<div>{name}</div><div class="bar"><b class="{name}"></b></div>'
        f'<div class="value">{escape(compare.cost_text(cost, comparison))}</div>'
        for name, cost in zip(Sides._fields, comparison.costs, strict=True)
        if cost
    ]
    return f'<div class="bars">{"".join(lines)}</div>' if lines else ""


def _widths(comparison: Comparison) -> str:
    """Return the style sheet of the bars."""
    most = max((cost.each for cost in comparison.costs if cost), default=0.0) or 1.0
    return "".join(
        f"b.{name} {{ width: {100 * cost.each / most:.2f}%; }}\n"
        for name, cost in zip(Sides._fields, comparison.costs, strict=True)
        if cost
    )


def _kind(
    kind: PairKind,
    pairs: list[tuple[Pair, int]],
    comparison: Comparison,
    top: int,
    addresses: bool,
) -> str:
    """Return the pairs of a kind, all but the first one folded."""
    heading = compare.heading(kind, events_of(pairs), comparison)
    parts = [f"<h2>{escape(heading)}</h2>"]
    for index, (pair, number) in enumerate(pairs[:top]):
        count = counted(number, comparison.unit)
        if index:
            parts.append(f"<details><summary>{escape(count)}</summary>")
        parts.append(_pair(pair, count, addresses))
        parts.append("</details>" * bool(index))
    if rest := compare.left_out(pairs[top:], comparison.unit):
        parts.append(f"<p>{escape(rest)}</p>")
    return "\n".join(parts)


def _pair(pair: Pair, count: str, addresses: bool) -> str:
    """Return both stacks as two columns; narrow pages merge them, showing common frames once."""
    cells = ['<div class="head h">helper</div><div class="head m">manual</div>']
    cells += [_row(row, bool(pair.helper and pair.manual), addresses) for row in pair.rows()]
    ends = [compare.end_text(stack, pair.cause) for stack in pair[:2]]
    if any(ends):
        cells += [
            f'<div class="{side} end{"" if end else " none"}">{escape(end)}</div>'
            for side, end in zip("hm", ends, strict=True)
        ]
    cells += [
        f'<div class="{side} foot">{escape(text)}</div>'
        for side, text in zip("hm", compare.number_texts(pair, count), strict=True)
    ]
    return f'<div class="pair">{"".join(cells)}</div>'


def _row(row: FramePair, compared: bool, addresses: bool) -> str:
    """Return the two cells of a row.

    :param compared: Both sides have a stack.
    """
    lone = "has" if row.missed else "past" if compared else "alone"
    cells = []
    for side, frame in zip("hm", row[:2], strict=True):
        kind = "both" if row.helper and row.manual else lone
        if frame is None:
            kind = "gap" if row.missed else "none"
        text = escape(frame_text(frame, addresses)) if frame else ""
        cells.append(f'<div class="{side} {kind}">{text}</div>')
    return "".join(cells)


def _ledger(comparison: Comparison) -> str:
    """Return the ledgers as a table: a row for each number, a column for each method."""
    rows = [
        ("hits", [f"{ledger.hits:,}" for ledger in comparison.ledgers]),
        ("stacks", [f"{ledger.recorded:,}" for ledger in comparison.ledgers]),
    ]
    causes = sorted({cause for ledger in comparison.ledgers for cause in ledger.causes})
    for cause in causes:
        why = f'<div class="why">{escape(CAUSES.get(cause, cause))}</div>'
        numbers = [f"{ledger.causes.get(cause, 0):,}" for ledger in comparison.ledgers]
        rows.append((f"{kind_of(cause)}: {escape(cause)}{why}", numbers))
    if not causes:
        rows.append(("lost", ["0", "0"]))
    rows += _marks(comparison.ledgers)
    lines = ["<tr><th></th><th>helper</th><th>manual</th></tr>"]
    for head, cells in rows:
        data = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr><th>{head}</th>{data}</tr>")
    return "\n".join(lines)


def _marks(ledgers: Sides[Ledger]) -> list[tuple[str, list[str]]]:
    """Return the rows of truncated, fallback and unexplained hits, unless both sides have 0."""
    found = {
        "truncated: stacks that go on below their last frame": [
            ledger.truncated for ledger in ledgers
        ],
        "fallback: stacks from the kernel's unwinder": [ledger.fallback for ledger in ledgers],
        "unexplained (a bug of kwalk; please report it)": [ledger.balance for ledger in ledgers],
    }
    return [(name, [f"{n:,}" for n in numbers]) for name, numbers in found.items() if any(numbers)]
