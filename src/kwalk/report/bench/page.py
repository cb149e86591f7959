# SPDX-License-Identifier: MIT
"""Results of ``kwalk bench`` as a self-contained HTML page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from kwalk.bench.results import Figures, Results, figures, rate_text
from kwalk.report.bench import calls, text
from kwalk.report.html import file, page
from kwalk.support.text import plural

_COLORS = 8  # classes c0 to c7 of the style sheet
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 760, 300, 52, 34


def as_html(results: Results) -> str:
    """Return the page."""
    return page(
        "bench.html",
        f"kwalk bench: {results.function}",
        file("templates/bench.css") + _places(results),
        heading=text.title(results),
        lead=_lead(results),
        bars=[
            {
                "name": name,
                "color": color,
                "change": text.signed(numbers.change),
                "verdict": numbers.verdict,
            }
            for color, name, numbers in _found(results)
        ],
        repeated=len(results.base) > 1,
        heads=_heads(results),
        rows=list(_rows(results)),
        latency=_latency(results),
        notes=text.notes(results),
    )


def _found(results: Results) -> list[tuple[int, str, Figures]]:
    """Return colour number, name and figures of each method that ran."""
    found = [(row.name, figures(row)) for row in results.rows]
    return [
        (index % _COLORS, name, numbers)
        for index, (name, numbers) in enumerate(found, 1)
        if numbers
    ]


def _lead(results: Results) -> str:
    runs = plural(len(results.base), "run")
    return (
        f"Change of {results.metric} against no tracing: the median of {runs} of each method, "
        "which took turns. The thin line is the 95 % interval of the median (bootstrap)."
    )


def _places(results: Results) -> str:
    """Return the style sheet of the bars: from zero to each method's change, and its interval."""
    found = _found(results)
    ends = [end for _, _, numbers in found for end in (*numbers.interval, numbers.change)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 100 * (value - low) / span

    style = []
    for index, (_, _, numbers) in enumerate(found):
        left, right = sorted((at(0), at(numbers.change)))
        start, stop = (at(end) for end in numbers.interval)
        style.append(
            f".b{index} {{ left: {left:.2f}%; width: {right - left:.2f}%; }}\n"
            f".i{index} {{ left: {start:.2f}%; width: {max(stop - start, 0.2):.2f}%; }}\n"
        )
    return "".join(style)


def _heads(results: Results) -> list[str]:
    cost = f"{text.cost_unit(results)} per event"
    return ["method", results.metric, *calls.HEADS, cost, "reader's CPU", "to attach"]


def _rows(results: Results) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the table: a method and its cells."""
    known = {row.name: row for row in results.rows}
    if results.base:
        rate = statistics.median(sample.rate for sample in results.base)
        yield "none", [rate_text(rate), *[""] * 7]
    for _, name, numbers in _found(results):
        row = known[name]
        cost = f"{row.cost_ns:,}" if row.cost_ns is not None else "\N{EN DASH}"
        yield (
            name,
            [
                rate_text(numbers.rate), *calls.cells(row), cost,
                f"{100 * numbers.reader_share:.1f} %", f"{numbers.attach_seconds:.1f} s",
            ],
        )  # fmt: skip


def _round_step(least: float) -> float:
    """Return the smallest number of the form 1, 2 or 5 times a power of ten that is >= least."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least)


def _latency(results: Results) -> dict[str, Any] | None:
    """Return a curve a method: the milliseconds within which a share of requests was answered."""
    found = text.latencies(results)
    if not found:
        return None
    colors = {"none": 0} | {name: color for color, name, _ in _found(results)}
    shares = sorted(set().union(*found.values()))
    highest = max(ms for latency in found.values() for ms in latency.values()) or 1.0
    tick = _round_step(highest / 4)
    most = tick * math.ceil(highest / tick)
    step = (_WIDTH - _LEFT - 20) / max(len(shares) - 1, 1)

    def x(share: float) -> float:
        return round(_LEFT + step * shares.index(share), 1)

    def y(ms: float) -> float:
        return round(10 + (_HEIGHT - _BOTTOM - 10) * (1 - ms / most), 1)

    ticks = [tick * number for number in range(round(most / tick) + 1)]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "lines": [(y(ms), f"{ms:.3g}") for ms in ticks],
        "shares": [(x(share), f"{share:.5g}") for share in shares[:: max(1, len(shares) // 7)]],
        "curves": [
            {
                "name": name,
                "color": colors[name],
                "points": [
                    {"x": x(share), "y": y(ms), "text": f"{share:g} % within {ms:.3f} ms"}
                    for share, ms in latency.items()
                ],
            }
            for name, latency in found.items()
        ],
    }
