# SPDX-License-Identifier: MIT
"""Draw two stacks of one path side by side, and each method's ledger below them."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kwalk.errors import KwalkError
from kwalk.report.frame import frame_text
from kwalk.stack import Frame

# What guest.py writes: method -> {"summary": ..., "stacks": [{"count": ..., "frames": ...}]}
Result = dict[str, dict[str, Any]]
Stack = tuple[Frame, ...]
Counts = dict[Stack, int]

WIDEST = 100


def counts_of(stacks: list[dict[str, Any]]) -> Counts:
    """Return the stacks of kwalk's JSON and how often each came, in the same order."""
    counts: Counts = {}
    for stack in stacks:
        frames = tuple(
            Frame(frame["name"], frame["offset"], frame["module"], int(frame["addr"], 16))
            for frame in stack["frames"]
        )
        counts[frames] = counts.get(frames, 0) + stack["count"]
    return counts


def same_path(manual: Stack, helper: Counts) -> tuple[list[Frame | None], int]:
    """Find the helper's stack of the path that ``manual`` shows; every address must agree.

    :return: Its frames in the rows of ``manual``'s, None where it has a gap, and its count.
    """
    if count := helper.get(manual):
        return [*manual], count
    if count := helper.get((*manual[:1], *manual[2:])):
        return [manual[0], None, *manual[2:]], count
    return [None] * len(manual), 0


def ledger_text(summary: dict[str, Any], count: int) -> str:
    """Return a method's ledger: calls = stacks + lost, and the causes of what was lost.

    :param count: How many of the stacks are the one that is shown.
    """
    ledger = summary["ledger"]
    lost: dict[str, int] = ledger["lost"]
    lines = [f"{ledger['hits']:,} calls"]
    lines += [f"= {ledger['recorded']:,} stacks + {sum(lost.values()):,} lost"]
    lines += [f"  lost: {number:,} {cause}" for cause, number in lost.items()]
    lines += [f"{count:,} stacks are this one"]
    if ledger["fallback"]:
        lines += [f"{ledger['fallback']:,} are from the kernel's unwinder"]
    return "\n".join(lines)


def verdict(helper: list[Frame | None], manual: Stack) -> str:
    """Say in one line what the two columns show."""
    if not any(helper):
        return "The helper has no stack of this path."
    if None in helper:
        return f"-> {manual[1].name} called {manual[0].name}; the helper does not show it."
    return f"All {len(manual)} frames are equal."


def draw(title: str, result: Result) -> None:
    """Print manual's most frequent stack that the helper has too, beside the helper's.

    :raises KwalkError: if manual has no stack at all.
    """
    summaries = {method: found["summary"] for method, found in result.items()}
    counts = {method: counts_of(found["stacks"]) for method, found in result.items()}
    if not counts["manual"]:
        function = summaries["manual"]["function"]
        raise KwalkError(f"{title}: no stack of {function} was recorded, so nothing can be shown")
    pairs = [(stack, *same_path(stack, counts["helper"])) for stack in counts["manual"]]
    manual, helper, count = next((pair for pair in pairs if pair[2]), pairs[0])

    table = Table(box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    for method in ("helper", "manual"):
        table.add_column(f"{method} (by {summaries[method]['attach']})", overflow="fold", ratio=1)
    for left, right in zip(helper, manual, strict=True):
        missed = left is None and any(helper)
        mark, style = ("-> ", "bold") if missed else ("   ", "")
        table.add_row(frame_text(left) if left else "", mark + frame_text(right), style=style)
    table.add_section()
    table.add_row(
        ledger_text(summaries["helper"], count),
        ledger_text(summaries["manual"], counts["manual"][manual]),
    )

    console = Console(highlight=False, markup=False)
    console.print(f"\n{title}")
    console.print(table, width=min(console.width, WIDEST))
    console.print(verdict(helper, manual))
