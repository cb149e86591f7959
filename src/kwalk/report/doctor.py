# SPDX-License-Identifier: MIT
"""The findings of ``kwalk doctor``, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json

from kwalk.probe.survey import Survey

_MARKS = {True: "[green]ok[/]", False: "[red]no[/]", None: ""}


def print_text(result: Survey) -> None:
    """Draw the findings and, below them, what kwalk will do."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
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
        return
    console.print("\nkwalk cannot trace on this machine:")
    for reason in result.reasons:
        console.print(f"  {escape(reason)}", soft_wrap=True)
    console.print("  `kwalk lab run -- COMMAND` traces in a virtual machine instead.")


def print_json(result: Survey) -> None:
    """Print everything as one JSON object."""
    print(json.dumps(dataclasses.asdict(result) | {"schema": "kwalk.doctor/1"}, indent=2))
