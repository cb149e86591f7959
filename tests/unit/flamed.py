# SPDX-License-Identifier: MIT
"""What tests read out of a page with a flame graph."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from kwalk.report.flame.graph import FlameNode

Paths = dict[tuple[str, ...], float]


def data_of(html: str) -> dict[str, Any]:
    """The data in a page, found as a browser does: up to the first end of a script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', html, re.S)
    assert found, "a page without data"
    result: dict[str, Any] = json.loads(found[1])
    return result


def node_of(names: Sequence[str], numbers: list[float], change: bool = False) -> FlameNode:
    """A tree again, of its numbers; totals are added up from what ends at each node."""
    rest = iter(numbers)

    def one() -> FlameNode:
        name, children, own = names[int(next(rest))], int(next(rest)), next(rest)
        before = next(rest) if change else 0
        node = FlameNode(name, own, before, own)
        for _ in range(children):
            child = one()
            node.children.append(child)
            node.total += child.total
            node.before += child.before
        return node

    found = one()
    assert next(rest, None) is None, "numbers left over"
    return found


def paths_of(node: FlameNode, above: tuple[str, ...] = ()) -> Paths:
    """How many calls end at each path, root first; of equal paths, their sum."""
    # What the page says: a total less its children's would have their rounding errors.
    found: Paths = {above: node.own} if node.own else {}
    for child in node.children:
        for path, calls in paths_of(child, (*above, child.name)).items():
            found[path] = found.get(path, 0) + calls
    return found


def summed(rows: list[tuple[tuple[str, ...], float]]) -> Paths:
    """The same of single counts."""
    found: Paths = {}
    for path, calls in rows:
        if calls:
            found[path] = found.get(path, 0) + calls
    return found
