# SPDX-License-Identifier: MIT
"""Flame graphs as one page of HTML that refers to nothing outside itself.

d3-flame-graph draws it (``assets/README.md``). ``assets/flame_tree.js`` builds from the stacks in
the page whatever tree is asked for: flame graph or callers first, all groups or one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kwalk.report import html as pages
from kwalk.report.calls import Bar
from kwalk.report.calltree import CallNode
from kwalk.report.flame import colors
from kwalk.report.flame.graph import Header
from kwalk.report.html import escape, file, template
from kwalk.support.text import counted, one_of

_BAR_WIDTH, _BAR_HEIGHT = 1000, 100


def page(
    trees: Mapping[str, CallNode],
    header: Header,
    *,
    change: bool = False,
    callers: bool = False,
) -> Iterator[str]:
    """Yield the pieces of the page.

    :param trees: By the name of a group; "" is for what is in no group. All of them begin at the
        outermost frame; the page turns them round by itself.
    :param change: It is a difference: frames are red that have more calls than ``before``, blue
        that have less, and one can switch to the widths of before, to see what is gone.
    :param callers: What is shown first: the traced function with its callers below it.
    """
    table = _Table()
    data = [
        {"group": table.index(name, "group") if name else 0, "nodes": table.nodes(tree, change)}
        for name, tree in trees.items()
    ]
    css = template("flame_page.css").substitute(
        light=_style(table, change, dark=False), dark=_style(table, change, dark=True)
    )
    css += "".join(f".{name} {{ background: var(--{name}); }}" for name in _boxes(table, change))
    library = file("assets/d3-flame-graph.min.js")
    script = "".join(file(f"assets/flame_{part}.js") for part in ("tree", "text", "page"))
    body = template("flame_page.html").substitute(
        heading=escape(header.title),
        facts="".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div> "
            for name, text in header.facts
        ),
        ledger="".join(f"<li>{escape(line)}</li>" for line in header.ledger),
        timelines="".join(
            _timeline(label, list(bars), header.counted or header.unit)
            for label, bars in header.timelines
        ),
        legend=_legend(table, change),
        data=_json(
            {
                "unit": header.unit,
                "one": one_of(header.unit),
                "change": change,
                "callers": callers,
                "steps": colors.STEPS,
                "names": table.names,
                "looks": table.looks,
                "trees": data,
            }
        ),
        library=library,
        script=script,
    )
    yield pages.page(f"{header.title} - kwalk", css, body, scripts=(library, script))


class _Table:
    """The names of all frames, each of them once; the first one is the root's.

    :ivar looks: For each name, which colour variable of the style sheet it has.
    :ivar kinds: What kinds of frames there are.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.looks: list[int] = []
        self.kinds: set[str] = set()
        self._known: dict[tuple[str, str], int] = {}
        self.index("all", "all")

    def index(self, name: str, kind: str = "") -> int:
        """Return the number of a name."""
        found = self._known.get((name, kind))
        if found is None:
            asked, kind = kind, kind or colors.kind_of(name)
            found = self._known.get((name, kind), len(self.names))
            self._known[name, asked] = self._known[name, kind] = found
        if found == len(self.names):
            self.names.append(name)
            self.kinds.add(kind)
            self.looks.append(list(colors.KINDS).index(kind) * colors.SHADES + colors.shade(name))
        return found

    def nodes(self, tree: CallNode, change: bool) -> list[float]:
        """Return a tree as a flat list, in preorder.

        Name, number of children, calls that end here, and in differences those of before.
        """
        found: list[float] = []
        waiting = [(tree, 0)]
        while waiting:
            node, name = waiting.pop()
            found += (name, len(node.children), _short(node.own))
            if change:
                found.append(_short(node.own_before))
            waiting += [
                (child, self.index(child.name, child.kind))
                for child in reversed(node.children.values())
            ]
        return found


def _short(number: float) -> float:
    """Return a number that takes no more room in JSON than it has to."""
    return int(number) if float(number).is_integer() else number


def _style(table: _Table, change: bool, dark: bool) -> str:
    """Return the colours, as variables of the style sheet."""
    if change:
        steps = range(len(colors.STEPS) + 1)
        found = {f"more{step}": colors.change_color(step, dark) for step in steps}
        found |= {f"less{step}": colors.change_color(-step, dark) for step in steps}
    else:
        found = {
            f"k{index * colors.SHADES + number}": colors.color(kind, number, dark)
            for index, kind in enumerate(colors.KINDS)
            for number in range(colors.SHADES)
            if kind in table.kinds
        }
    return " ".join(f"--{name}: {value};" for name, value in found.items())


def _legend(table: _Table, change: bool) -> str:
    if change:
        boxes = "".join(f'<b class="{name}"></b>' for name in _boxes(table, change))
        return (
            f'<span class="scale">fewer calls than before (1/{colors.STEPS[-1]:g} or less) {boxes} '
            f"more (\N{MULTIPLICATION SIGN}{colors.STEPS[-1]:g} or more); the middle: within "
            f"{100 * (colors.STEPS[0] - 1):.0f} %</span>"
        )
    return "".join(
        f'<span><b class="{name}"></b>{escape(what)}</span>'
        for name, what in _boxes(table, change).items()
    )


def _boxes(table: _Table, change: bool) -> dict[str, str]:
    """Return the colours that the legend shows, by their variables, and what they are of."""
    if change:
        last = len(colors.STEPS)
        less = {f"less{step}": "" for step in range(last, 0, -1)}
        return less | {f"more{step}": "" for step in range(last + 1)}
    return {
        f"k{index * colors.SHADES + 1}": found.what
        for index, (kind, found) in enumerate(colors.KINDS.items())
        if kind in table.kinds - {"all"}
    }


def _timeline(label: str, bars: list[Bar], unit: str) -> str:
    """Return bars, as high as there were calls a second."""
    if not bars:
        return ""
    highest = max(bar.rate for bar in bars) or 1.0
    end = bars[-1].end or 1.0
    gap = 0.12 * _BAR_WIDTH / len(bars)
    parts = []
    for bar in bars:
        left, width = _BAR_WIDTH * bar.start / end, _BAR_WIDTH * (bar.end - bar.start) / end
        height = 0.94 * _BAR_HEIGHT * bar.rate / highest
        title = (
            f"{bar.start:.1f} s to {bar.end:.1f} s: {counted(bar.number, unit)}, {bar.rate:,.0f}/s"
        )
        parts.append(
            f'<g><title>{escape(title)}</title><path d="M{left:.2f} 0h{width:.2f}v{_BAR_HEIGHT}'
            f'h-{width:.2f}z"/><rect x="{left:.2f}" y="{_BAR_HEIGHT - height:.2f}" '
            f'width="{max(width - gap, 0.2):.2f}" height="{height:.2f}"/></g>'
        )
    name = f"{label}: " if label else ""
    return (
        f"<figure><figcaption><span>{escape(name)}{escape(unit)} a second, at most {highest:,.0f}"
        f"</span><span>{end:,.1f} s</span></figcaption>"
        f'<svg viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}{escape(unit)} a second">{"".join(parts)}</svg></figure>'
    )


def _json(data: dict[str, Any]) -> str:
    """Return JSON for a script element: no name in it can end that element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
