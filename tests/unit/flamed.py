# SPDX-License-Identifier: MIT
"""What tests read out of a page with a flame graph."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from kwalk.report.calltree import CallNode

Paths = dict[tuple[str, ...], float]


def data_of(html: str) -> dict[str, Any]:
    """The data in a page, found as a browser does: up to the first end of a script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', html, re.S)
    assert found, "a page without data"
    result: dict[str, Any] = json.loads(found[1])
    return result


def node(name: str, total: float, *children: CallNode, before: float = 0) -> CallNode:
    """A tree; what its children do not have ends at the node."""
    own = total - sum(child.total for child in children)
    own_before = before - sum(child.before for child in children)
    below = {child.name: child for child in children}
    return CallNode(name, total, own, before, own_before, children=below)


def node_of(names: Sequence[str], numbers: list[float], change: bool = False) -> CallNode:
    """A tree again, of its numbers; totals are added up from what ends at each node."""
    rest = iter(numbers)

    def one() -> CallNode:
        name, children, own = names[int(next(rest))], int(next(rest)), next(rest)
        before = next(rest) if change else 0
        node = CallNode(name, own, own, before, before)
        for _ in range(children):
            child = one()
            assert node.children.setdefault(child.name, child) is child
            node.total += child.total
            node.before += child.before
        return node

    found = one()
    assert next(rest, None) is None, "numbers left over"
    return found


def paths_of(node: CallNode, above: tuple[str, ...] = ()) -> Paths:
    """How many calls end at each path, root first; of equal paths, their sum."""
    # What the page says: a total less its children's would have their rounding errors.
    found: Paths = {above: node.own} if node.own else {}
    for child in node.children.values():
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
