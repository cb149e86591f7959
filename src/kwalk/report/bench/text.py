# SPDX-License-Identifier: MIT
"""Results of ``kwalk bench`` as tables for a terminal and as JSON-ready data."""

from __future__ import annotations

import io
import statistics
from typing import Any

from kwalk.bench.results import MethodResult, Results, figures, middle, rate_text, within
from kwalk.report.bench import calls

SCHEMA = "kwalk.bench/2"
_SHARES = (50.0, 90.0, 99.0, 99.9, 100.0)
_MINUS = "\N{MINUS SIGN}"
_NONE = "\N{EN DASH}"
# Columns of the first of two tables; the second one has what follows of the methods only.
_FIRST = 6


def signed(change: float) -> str:
    """Return a change in percent with its sign."""
    return f"{change:+.1f}".replace("-", _MINUS)


def cost_unit(results: Results) -> str:
    """Return the unit of an event's cost: ``instructions`` or ``ns``."""
    return "instructions" if results.clock == "instructions" else "ns"


def title(results: Results) -> str:
    """Return function, mode and workload in one line."""
    what = "counting stacks" if results.mode == "count" else "printing every stack"
    return f"{results.function}, {what}: {results.workload}"


def notes(results: Results) -> list[str]:
    """Return sentences on the conditions of the measurement and on methods that were not run."""
    kernel = f"Linux {results.kernel}"
    if results.mitigations == "off":
        kernel += ", mitigations=off"
    if results.clock == "instructions":
        kernel += "; the clock counts instructions, 1 ns each"
    lines = [f"{kernel}; {'; '.join(results.versions)}".rstrip("; ")]
    if results.metric == "runs/s":
        lines.append("The workload prints no throughput that kwalk knows: its duration was taken.")
    lines += [f"{row.name} was not run: {row.not_run}" for row in results.rows if row.not_run]
    lines += calls.notes(results)
    if results.stopped:
        lines.append(f"It ended early: {results.stopped}")
    return lines


def as_text(results: Results, width: int) -> str:
    """Return the tables and notes, in two tables if one is wider than the terminal."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    console.print(title(results))
    columns = _columns(results)
    whole = _table(columns)
    free = console.options.update_width(1000)
    if console.measure(whole, options=free).maximum <= width:
        console.print(whole)
    else:
        console.print(_table(columns[:_FIRST]))
        console.print(
            _table([columns[0][:1] + columns[0][2:], *(c[:1] + c[2:] for c in columns[_FIRST:])])
        )
    known = latencies(results)
    if known:
        console.print("answered within, in ms")
        cells = [[within(latency, share) for share in _SHARES] for latency in known.values()]
        texts = [[_NONE if ms is None else f"{ms:.3f}" for ms in row] for row in cells]
        shares = [f"{share:g} %" for share in _SHARES]
        rows = [[name, *row] for name, row in zip(known, texts, strict=True)]
        console.print(_table([list(c) for c in zip(["method", *shares], *rows, strict=True)]))
    for note in notes(results):
        console.print(note)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _columns(results: Results) -> list[list[str]]:
    """Return the columns, head first, then the untraced run, then each method."""
    rates = [sample.rate for sample in results.base]
    cost = f"{cost_unit(results)}/event"
    heads = ["method", results.metric, "change", "95 % interval", "reader", "attach"]
    rows = [
        [*heads, *calls.HEADS, cost],
        ["none", rate_text(statistics.median(rates)) if rates else "", *[""] * 9],
    ]
    for row in results.rows:
        found = figures(row)
        if found is None:
            continue
        low, high = found.interval
        rows.append(
            [
                row.name,
                rate_text(found.rate),
                f"{signed(found.change)} %",
                found.verdict or f"{signed(low)} .. {signed(high)}",
                f"{100 * found.reader_share:.1f} %",
                f"{found.attach_seconds:.1f} s",
                *calls.cells(row),
                _NONE if row.cost_ns is None else f"{row.cost_ns:,}",
            ]
        )
    return [list(column) for column in zip(*rows, strict=True)]


def _table(columns: list[list[str]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column[0], justify="right" if index else "left", no_wrap=True)
    for cells in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    return table


def latencies(results: Results) -> dict[str, dict[float, float]]:
    """Return the latencies (share of requests -> ms) of the untraced run and of each method.

    Methods for which the workload reports none are left out.
    """
    found = {"none": middle([sample.latency for sample in results.base])}
    for row in results.rows:
        numbers = figures(row)
        if numbers:
            found[row.name] = numbers.latency
    return {name: latency for name, latency in found.items() if latency}


def as_data(results: Results) -> dict[str, Any]:
    """Return all results as JSON-ready data."""
    return {
        "schema": SCHEMA,
        "function": results.function,
        "mode": results.mode,
        "workload": results.workload,
        "metric": results.metric,
        "date": results.date,
        "kernel": results.kernel,
        "mitigations": results.mitigations,
        "clock": results.clock,
        "versions": results.versions,
        "stopped": results.stopped,
        "base": {
            "rates": [sample.rate for sample in results.base],
            "latency": _shares(middle([sample.latency for sample in results.base])),
        },
        "methods": [_row_data(row) for row in results.rows],
    }


def _shares(latency: dict[float, float]) -> list[list[float]]:
    return [[share, ms] for share, ms in latency.items()]


def _row_data(row: MethodResult) -> dict[str, Any]:
    found = figures(row)
    if found is None:
        return {"name": row.name, "not_run": row.not_run or "interrupted"}
    last = row.runs[-1].outcome
    late = {"not_run": row.not_run} if row.not_run else {}
    late |= {"not_counted": row.not_counted} if row.not_counted else {}
    return late | {
        "name": row.name,
        "version": row.version,
        "rates": [run.sample.rate for run in row.runs],
        "changes": [round(run.change, 3) for run in row.runs],
        "change": round(found.change, 3),
        "interval": [round(end, 3) for end in found.interval],
        "verdict": found.verdict,
        "cost_ns": row.cost_ns,
        "calls": calls.as_data(row),
        "delivered": [run.outcome.delivered for run in row.runs],
        "lost": [run.outcome.lost for run in row.runs],
        "fallback": [run.outcome.fallback for run in row.runs],
        "printed_2s_after": last.shown,
        "quiet": [run.quiet for run in row.runs],
        "reader_share": round(found.reader_share, 4),
        "attach_seconds": [round(run.attach_seconds, 3) for run in row.runs],
        "latency": _shares(found.latency),
    }
