# SPDX-License-Identifier: MIT
"""Results of ``kwalk bench`` as a self-contained HTML page."""

from __future__ import annotations

import math
import statistics

from kwalk.bench.results import Figures, Results, figures, rate_text
from kwalk.report.bench import text
from kwalk.report.html import escape, file, page, template
from kwalk.support.text import plural

_COLORS = 8  # classes c0 to c7 of the style sheet
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 760, 300, 52, 34


def as_html(results: Results) -> str:
    """Return the HTML page."""
    bars, style = _bars(results)
    body = template("bench_page.html").substitute(
        heading=escape(text.title(results)),
        lead=escape(_lead(results)),
        bars=bars,
        table=_table(results),
        latency=_latency(results),
        notes="".join(f"<li>{escape(note)}</li>" for note in text.notes(results)),
    )
    return page(f"kwalk bench: {results.function}", file("bench_page.css") + style, body)


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


def _bars(results: Results) -> tuple[str, str]:
    """Return a bar from zero to each method's change, as HTML, and the style sheet of the bars."""
    found = _found(results)
    ends = [end for _, _, numbers in found for end in (*numbers.interval, numbers.change)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 100 * (value - low) / span

    lines, style = [], []
    for index, (color, name, numbers) in enumerate(found):
        left, right = sorted((at(0), at(numbers.change)))
        start, stop = (at(end) for end in numbers.interval)
        style.append(
            f".b{index} {{ left: {left:.2f}%; width: {right - left:.2f}%; }}\n"
            f".i{index} {{ left: {start:.2f}%; width: {max(stop - start, 0.2):.2f}%; }}\n"
        )
        whisker = f'<i class="i{index}"></i>' if len(results.base) > 1 else ""
        note = f" <small>{escape(numbers.verdict)}</small>" if numbers.verdict else ""
        lines.append(
            f'<div class="row"><div class="name">{escape(name)}</div><div class="bar">'
            f'<b class="c{color} b{index}"></b>{whisker}'
            f'</div><div class="value">{text.signed(numbers.change)} %{note}</div></div>'
        )
    return "\n".join(lines), "".join(style)


def _table(results: Results) -> str:
    heads = (results.metric, "events", "lost", f"{text.cost_unit(results)} per event")
    cells = "".join(f"<th>{escape(head)}</th>" for head in (*heads, "reader's CPU", "to attach"))
    lines = [f"<tr><th>method</th>{cells}</tr>"]
    known = {row.name: row for row in results.rows}
    if results.base:
        rate = statistics.median(sample.rate for sample in results.base)
        lines.append(f"<tr><th>none</th><td>{escape(rate_text(rate))}</td>{'<td></td>' * 5}</tr>")
    for _, name, numbers in _found(results):
        row = known[name]
        events, lost = text.event_counts(row)
        cost = f"{row.cost_ns:,}" if row.cost_ns is not None else "\N{EN DASH}"
        values = (
            rate_text(numbers.rate), events, lost, cost,
            f"{100 * numbers.reader_share:.1f} %", f"{numbers.attach_seconds:.1f} s",
        )  # fmt: skip
        data = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f"<tr><th>{escape(name)}</th>{data}</tr>")
    return "\n".join(lines)


def _round_step(least: float) -> float:
    """Return the smallest number of the form 1, 2 or 5 times a power of ten that is >= least."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least)


def _latency(results: Results) -> str:
    """Return a chart with a latency curve for each method: milliseconds by share of requests."""
    found = text.latencies(results)
    if not found:
        return ""
    colors = {"none": 0} | {name: color for color, name, _ in _found(results)}
    shares = sorted(set().union(*found.values()))
    highest = max(ms for latency in found.values() for ms in latency.values()) or 1.0
    tick = _round_step(highest / 4)
    most = tick * math.ceil(highest / tick)
    step = (_WIDTH - _LEFT - 20) / max(len(shares) - 1, 1)

    def x(share: float) -> float:
        return _LEFT + step * shares.index(share)

    def y(ms: float) -> float:
        return 10 + (_HEIGHT - _BOTTOM - 10) * (1 - ms / most)

    parts = []
    for number in range(round(most / tick) + 1):
        ms = tick * number
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y(ms):.1f}" y2="{y(ms):.1f}"/>'
            f'<text class="end" x="{_LEFT - 6}" y="{y(ms) + 4:.1f}">{ms:.3g}</text>'
        )
    every = max(1, len(shares) // 7)
    for share in shares[::every]:
        parts.append(
            f'<text class="mid" x="{x(share):.1f}" y="{_HEIGHT - 12}">{share:.5g} %</text>'
        )
    for name, latency in found.items():
        points = " ".join(f"{x(share):.1f},{y(ms):.1f}" for share, ms in latency.items())
        parts.append(f'<polyline class="c{colors[name]}" points="{points}"/>')
        parts += [
            f'<circle class="c{colors[name]}" cx="{x(share):.1f}" cy="{y(ms):.1f}" r="3">'
            f"<title>{escape(name)}: {share:g} % within {ms:.3f} ms</title></circle>"
            for share, ms in latency.items()
        ]
    legend = "".join(
        f'<span><b class="c{colors[name]}"></b>{escape(name)}</span>' for name in found
    )
    return (
        "<h2>Latency</h2><p>Milliseconds (upwards) within which a share of the requests "
        "(to the right) was answered; the median of the runs. Lower is better.</p>"
        f'<div class="legend">{legend}</div><div class="scroll">'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="latency by method">'
        f"{''.join(parts)}</svg></div>"
    )
