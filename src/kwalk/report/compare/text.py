# SPDX-License-Identifier: MIT
"""Comparison of the helper with the walk, side by side for a terminal; texts for all formats."""

from __future__ import annotations

import io
import re
from typing import Any

from kwalk.model.comparison import (
    Comparison,
    MethodCost,
    Pair,
    PairKind,
    Sides,
    by_kind,
    events_of,
    missed,
)
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Frame, Stack
from kwalk.report import verify as verifies
from kwalk.report.calltree import function_name
from kwalk.report.frame import frame_text
from kwalk.report.summary import cause_lines, sum_text
from kwalk.support.text import counted, form, one_of, plural

MARK = "->"
WIDEST = 110
_FUNCTIONS_TOLD = 5
KINDS = {
    PairKind.SAME: "both have the same stack, frame by frame",
    PairKind.HELPER_LACKS: "the helper lacks frames that manual has",
    PairKind.MANUAL_LACKS: "manual lacks frames that the helper has",
    PairKind.DIFFERENT: "each has frames that the other lacks",
    PairKind.HELPER_LOST: "the helper has no stack",
    PairKind.MANUAL_LOST: "manual has no stack",
}


def title(comparison: Comparison) -> str:
    """Return function and number of hits in one line."""
    return (
        f"{comparison.function}: helper and manual on the same "
        f"{counted(comparison.events, comparison.unit)}"
    )


def subtitle(comparison: Comparison) -> str:
    """Return kernel, unwinder, way of attaching and duration in one line."""
    unwinder = comparison.unwinder.replace("orc", "ORC")
    return (
        f"Linux {comparison.kernel}, unwinder: {unwinder}; both by {comparison.attach}, in one "
        f"program, for {comparison.seconds:.1f} s"
    )


def share(number: int, total: int, unit: str) -> str:
    """Return a share as text: ``all 1,000 calls``, or ``10 of 1,000 calls (1.0 %)``."""
    if number == total:
        return f"the only {one_of(unit)}" if total == 1 else f"all {total:,} {unit}"
    part = 100 * number / total
    text = "under 0.1" if part < 0.1 else "over 99.9" if part > 99.9 else f"{part:.1f}"
    return f"{number:,} of {total:,} {unit} ({text} %)"


def heading(kind: PairKind, number: int, comparison: Comparison) -> str:
    """Return the heading of the pairs of a kind: their share, and the finding."""
    text = share(number, comparison.events, comparison.unit)
    return f"{text[0].upper()}{text[1:]}: {KINDS[kind]}"


def left_out(pairs: list[tuple[Pair, int]], unit: str) -> str:
    """Return a line about the pairs of a kind that ``--top`` hides; "" if there are none."""
    if not pairs:
        return ""
    what = form(len(pairs), "pair of stacks", "pairs of stacks")
    calls = counted(events_of(pairs), unit)
    return f"({len(pairs):,} more {what} like that, {calls}, left out by --top)"


def verdicts(comparison: Comparison) -> list[str]:
    """Return the conclusions, a sentence each."""
    total, unit = comparison.events, comparison.unit
    if not total:
        return ["Neither method recorded a stack: there is nothing to compare."]
    kinds = {kind: events_of(pairs) for kind, pairs in by_kind(comparison).items()}
    lines = []
    if set(kinds) == {PairKind.SAME}:
        why = ": the kernel unwinds by ORC, and so does manual" * (comparison.unwinder == "orc")
        lines.append(f"Both methods agree on {share(total, total, unit)}{why}.")
    found = missed(comparison.hottest(), function_name)
    for name, functions in zip(("The helper misses", "Manual misses"), found, strict=True):
        if functions:
            lines.append(f"{MARK} {name} {_functions(functions.most_common(), unit)}.")
    if comparison.unwinder == "frame pointer" and any(map(_lacks_caller, comparison.pairs)):
        lines.append(
            "At a function's first instruction its frame is not set up yet, and frame pointers "
            "lead past the function that called it."
        )
    lines += _cost_verdict(comparison)
    return lines


def _lacks_caller(pair: Pair) -> bool:
    """Return whether the helper misses the direct caller of the traced function."""
    return any(row.missed and row.manual is not None for row in pair.rows()[1:2])


def _functions(found: list[tuple[str, int]], unit: str) -> str:
    told = [f"{name} in {counted(number, unit)}" for name, number in found[:_FUNCTIONS_TOLD]]
    more = len(found) - len(told)
    return ", ".join(told) + (f", and {plural(more, 'more function')}" if more > 0 else "")


def _cost_verdict(comparison: Comparison) -> list[str]:
    helper, manual = comparison.costs
    if not helper or not manual or not helper.each or not manual.each:
        return []
    ratio = helper.each / manual.each
    if ratio >= 1:
        return [f"A stack by the helper costs {ratio:.1f} times as much as by manual."]
    return [f"A stack by manual costs {1 / ratio:.1f} times as much as by the helper."]


def cost_unit(comparison: Comparison) -> str:
    """Return the unit of an event's cost: ``instructions`` or ``ns``."""
    return "instructions" if comparison.clock == "instructions" else "ns"


def cost_text(cost: MethodCost | None, comparison: Comparison) -> str:
    """Return the cost of an event by a method as text; "" if it was not measured."""
    return f"{cost.each:,.0f} {cost_unit(comparison)} each (by {cost.attach})" if cost else ""


def ledger_lines(ledger: Ledger, unit: str) -> list[str]:
    """Return the ledger of a method: hits = stacks + lost, and the causes."""
    lines = [counted(ledger.hits, unit), f"= {sum_text(ledger)}", *cause_lines(ledger)]
    if ledger.truncated:
        lines.append(f"  truncated: {ledger.truncated:,}")
    if ledger.fallback:
        lines.append(f"  fallback: {ledger.fallback:,} from the kernel's unwinder")
    if ledger.balance:
        lines.append(f"  unexplained: {ledger.balance:,} (a bug of kwalk; please report it)")
    return lines


def notes(comparison: Comparison) -> list[str]:
    """Return the notes, with labels: missed hits, ``--verify``, how costs were measured."""
    uncounted = {text: None for ledger in comparison.ledgers for text in ledger.uncounted}
    lines = [f"not seen: {comparison.unseen}"] if comparison.unseen else []
    lines += [f"not counted: {text}" for text in uncounted]
    lines += [f"note: {text}" for text in comparison.notes]
    if comparison.verify:
        lines += [line.strip() for line in verifies.numbers(comparison.verify)]
    measured = [
        f"{name} on {counted(cost.events, comparison.unit)}"
        for name, cost in zip(Sides._fields, comparison.costs, strict=True)
        if cost
    ]
    if measured:
        what = "instructions" if comparison.clock == "instructions" else "time"
        lines.append(
            f"costs: {what} in the BPF program of each method counting by itself, in a run of its "
            f"own ({', '.join(measured)}), without the probe that calls it"
        )
    return lines


def as_text(
    comparison: Comparison,
    width: int,
    top: int = 1,
    color: bool = False,
    addresses: bool = False,
) -> str:
    """Return both methods' stacks side by side, then the ledgers, conclusions and notes.

    :param width: Columns of the terminal.
    :param top: Most frequent pairs of stacks of each kind to show.
    :param addresses: Show the address of each frame.
    """
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False,
        force_terminal=color, color_system="standard" if color else None,
    )  # fmt: skip
    wide = min(width, WIDEST)
    console.print(title(comparison))
    console.print(subtitle(comparison))
    for kind, pairs in by_kind(comparison).items():
        console.print(f"\n{heading(kind, events_of(pairs), comparison)}", style="bold")
        for pair, number in pairs[:top]:
            console.print(_pair_table(pair, number, comparison.unit, addresses), width=wide)
        if rest := left_out(pairs[top:], comparison.unit):
            console.print(rest)
    console.print(_sides_table(comparison), width=wide)
    for line in [*verdicts(comparison), *notes(comparison)]:
        console.print(line)
    if comparison.verify:
        # Without wrapping, which would break the columns.
        console.print("\n".join(verifies.differences(comparison.verify)), soft_wrap=True)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    return re.sub(r"\n{3,}", "\n\n", text)


def _table() -> Any:
    """Return an empty table: for each method a narrow column of marks and one of frames."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    for method in Sides._fields:
        table.add_column(width=len(MARK))
        table.add_column(method, overflow="fold", ratio=1)
    return table


def _pair_table(pair: Pair, number: int, unit: str, addresses: bool) -> Any:
    table = _table()
    for row in pair.rows():
        cells = [cell for frame in row[:2] for cell in _cells(frame, row.missed, addresses)]
        table.add_row(*cells, style="bold" if row.missed else "")
    ends = [end_text(stack, pair.cause) for stack in pair[:2]]
    if any(ends):
        table.add_row("", ends[0], "", ends[1])
    table.add_section()
    left, right = number_texts(pair, counted(number, unit))
    table.add_row("", left, "", right)
    return table


def number_texts(pair: Pair, number: str) -> tuple[str, str]:
    """Return the texts below a pair; ``number`` is its count with the unit."""
    if not pair.helper:
        return f"{number} lost", "with this stack" if pair.manual else "lost as well"
    return f"{number} with this stack", "and this one" if pair.manual else "lost"


def _cells(frame: Frame | None, missed_by_other: bool, addresses: bool) -> tuple[str, str]:
    if frame is None:
        return "", ""
    return MARK if missed_by_other else "", frame_text(frame, addresses)


def end_text(stack: Stack | None, cause: str) -> str:
    """Return the text below a side's frames: lost, truncated, or by the kernel's unwinder."""
    if stack is None:
        return f"(lost: {cause})" if cause else "(lost)"
    return ", ".join(
        ["... (truncated)"] * stack.truncated + ["(by the kernel's unwinder)"] * stack.fallback
    )


def _sides_table(comparison: Comparison) -> Any:
    table = _table()
    cells = []
    for ledger, cost in zip(comparison.ledgers, comparison.costs, strict=True):
        lines = ledger_lines(ledger, comparison.unit)
        lines += [text] if (text := cost_text(cost, comparison)) else []
        cells += ["", "\n".join(lines)]
    table.add_row(*cells)
    return table
