# SPDX-License-Identifier: MIT
"""Output of ``kwalk doctor``: a table, or JSON."""

from __future__ import annotations

import dataclasses
import io
import json

from kwalk.probe.doctor import Survey
from kwalk.report.ansi import trimmed

_MARKS = {True: "[green]ok[/]", False: "[red]no[/]", None: ""}


def as_text(result: Survey, width: int, color: bool = False) -> str:
    """Return the table of findings and, below it, the method and way that kwalk will use.

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
    for way in result.ways:
        told = way.text if way.works or not way.next else f"{way.text}. {way.next}"
        table.add_row(way.name, _MARKS[way.works], escape(told))
    console.print(table)
    console.print(f"\n{_verdict(result)}")
    for reason in result.reasons:
        console.print(f"  {escape(reason)}", soft_wrap=True)
    if not result.method:
        console.print("  `kwalk lab run -- COMMAND` traces in a virtual machine instead.")
    return trimmed(console.file.getvalue())  # type: ignore[attr-defined]


def _verdict(result: Survey) -> str:
    if result.method:
        return f"kwalk will use: {result.method} by {result.attach}"
    if others := result.others:
        return f"kwalk cannot trace the entries of functions here, only: {', '.join(others)}"
    return "kwalk cannot trace on this machine:"


def as_json(result: Survey) -> str:
    """Return the survey as one JSON object."""
    data = dataclasses.asdict(result) | {"schema": "kwalk.doctor/2", "others": result.others}
    return json.dumps(data, indent=2) + "\n"
