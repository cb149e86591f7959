# SPDX-License-Identifier: MIT
"""The findings of ``kwalk doctor``, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import io
import json

from kwalk.probe.survey import Survey
from kwalk.report.paint import trimmed

_MARKS = {True: "[green]ok[/]", False: "[red]no[/]", None: ""}


def as_text(result: Survey, width: int, color: bool = False) -> str:
    """Return the findings and, below them, what kwalk will do.

    :param width: Columns of the terminal.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(
        file=io.StringIO(), width=width, highlight=False,
        force_terminal=color, color_system="standard" if color else None,
    )  # fmt: skip
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in result.findings:
        table.add_row(finding.name, _MARKS[finding.ok], escape(finding.text))
    console.print(table)
    if result.method:
        console.print(f"\nkwalk will use: {result.method} by {result.attach}")
        for reason in result.reasons:
            console.print(f"  {escape(reason)}", soft_wrap=True)
    else:
        console.print("\nkwalk cannot trace on this machine:")
        for reason in result.reasons:
            console.print(f"  {escape(reason)}", soft_wrap=True)
        console.print("  `kwalk lab run -- COMMAND` traces in a virtual machine instead.")
    return trimmed(console.file.getvalue())  # type: ignore[attr-defined]


def as_json(result: Survey) -> str:
    """Return everything as one JSON object."""
    return json.dumps(dataclasses.asdict(result) | {"schema": "kwalk.doctor/1"}, indent=2) + "\n"
