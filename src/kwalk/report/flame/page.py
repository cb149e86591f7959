# SPDX-License-Identifier: MIT
"""Flame graphs as self-contained HTML pages.

d3-flame-graph draws them (``assets/README.md``). ``assets/flame_tree.js`` builds the tree in the
browser, out of the stacks in the page: callees or callers first, all groups or one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kwalk.report import html as pages
from kwalk.report.calls import Bar
from kwalk.report.calltree import CallNode
from kwalk.report.flame import colors
from kwalk.report.flame.header import Header
from kwalk.report.html import file, template
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

    :param trees: Trees by the name of their group, "" for none, each with the outermost frame at
        the root; the page inverts them by itself.
    :param change: Draw a comparison: red for more hits than ``before``, blue for fewer, and a
        button to switch to the widths of ``before``, which shows frames that are gone.
    :param callers: Begin with the inverted tree: the traced function, its callers below it.
    """
    table = _Table(header.machine)
    data = [
        {"group": table.index(name, "group") if name else 0, "nodes": table.nodes(tree, change)}
        for name, tree in trees.items()
    ]
    boxes = _boxes(table, change)
    css = template(
        "flame.css",
        light=_style(table, change, dark=False),
        dark=_style(table, change, dark=True),
        boxes=boxes,
    )
    library = file("assets/d3-flame-graph.min.js")
    script = "".join(file(f"assets/flame_{part}.js") for part in ("tree", "text", "page"))
    yield pages.page(
        "flame.html",
        f"{header.title} - kwalk",
        css,
        scripts=(library, script),
        heading=header.title,
        facts=header.facts,
        ledger=header.ledger,
        timelines=[
            _timeline(label, bars, header.counted or header.unit)
            for label, bars in header.timelines
            if bars
        ],
        boxes=boxes,
        scale=_scale() if change else None,
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


class _Table:
    """Table of the distinct names of frames; the first one is the root's.

    :ivar looks: Number of the colour variable of each name (``--k<number>`` in the style sheet).
    :ivar kinds: Kinds of frames in use.
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.names: list[str] = []
        self.looks: list[int] = []
        self.kinds: set[str] = set()
        self._known: dict[tuple[str, str], int] = {}
        self.index("all", "all")

    def index(self, name: str, kind: str = "") -> int:
        """Return the index of a name, which is added if it is new."""
        found = self._known.get((name, kind))
        if found is None:
            asked, kind = kind, kind or colors.kind_of(name, self._machine)
            found = self._known.get((name, kind), len(self.names))
            self._known[name, asked] = self._known[name, kind] = found
        if found == len(self.names):
            self.names.append(name)
            self.kinds.add(kind)
            self.looks.append(list(colors.KINDS).index(kind) * colors.SHADES + colors.shade(name))
        return found

    def nodes(self, tree: CallNode, change: bool) -> list[float]:
        """Return a tree as a flat list, in preorder.

        A node is: index of its name, number of children, hits that end here, and with ``change``
        the earlier recording's hits that end here.
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
    """Return a whole float as an int, which is shorter in JSON."""
    return int(number) if float(number).is_integer() else number


def _style(table: _Table, change: bool, dark: bool) -> str:
    """Return the colours as variables of the style sheet."""
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


def _scale() -> dict[str, str]:
    """Return the ends of the legend of a difference."""
    most, same = colors.STEPS[-1], 100 * (colors.STEPS[0] - 1)
    return {"most": f"{most:g}", "same": f"{same:.0f}"}


def _boxes(table: _Table, change: bool) -> dict[str, str]:
    """Return the boxes of the legend: colour variable -> text."""
    if change:
        last = len(colors.STEPS)
        less = {f"less{step}": "" for step in range(last, 0, -1)}
        return less | {f"more{step}": "" for step in range(last + 1)}
    return {
        f"k{index * colors.SHADES + 1}": found.what
        for index, (kind, found) in enumerate(colors.KINDS.items())
        if kind in table.kinds - {"all"}
    }


def _timeline(label: str, bars: Sequence[Bar], unit: str) -> dict[str, Any]:
    """Return bars, as high as there were calls a second."""
    highest = max(bar.rate for bar in bars) or 1.0
    end = bars[-1].end or 1.0
    gap = 0.12 * _BAR_WIDTH / len(bars)

    def drawn(bar: Bar) -> dict[str, str]:
        left, width = _BAR_WIDTH * bar.start / end, _BAR_WIDTH * (bar.end - bar.start) / end
        height = 0.94 * _BAR_HEIGHT * bar.rate / highest
        number = counted(bar.number, unit)
        return {
            "title": f"{bar.start:.1f} s to {bar.end:.1f} s: {number}, {bar.rate:,.0f}/s",
            "slot": f"M{left:.2f} 0h{width:.2f}v{_BAR_HEIGHT}h-{width:.2f}z",
            "x": f"{left:.2f}",
            "y": f"{_BAR_HEIGHT - height:.2f}",
            "width": f"{max(width - gap, 0.2):.2f}",
            "height": f"{height:.2f}",
        }

    return {
        "name": f"{label}: {unit}" if label else unit,
        "highest": f"{highest:,.0f}",
        "end": f"{end:,.1f}",
        "width": _BAR_WIDTH,
        "height": _BAR_HEIGHT,
        "bars": map(drawn, bars),
    }


def _json(data: dict[str, Any]) -> str:
    """Return JSON for a script element; ``<`` is escaped, so that no name can end the element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
