# SPDX-License-Identifier: MIT
"""Layout of trees as lines of text, indented only where the tree branches.

Kernel stacks are deep, but most frames have one caller and one callee: such a chain stays on one
level, a frame a line. Hidden branches are gathered into a line of their own, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

_Node = TypeVar("_Node")


@dataclass(frozen=True, slots=True)
class Line(Generic[_Node]):
    """One line of an outline.

    :ivar lead: Branch characters to the left of the text.
    :ivar node: Node of this line; None for a line of hidden branches.
    :ivar above: Parent of ``node`` if it is the line before, on the same level; else None.
    :ivar hidden: Branches gathered in this line.
    """

    lead: str
    node: _Node | None = None
    above: _Node | None = None
    hidden: tuple[_Node, ...] = ()


def outline(
    top: _Node,
    below: Callable[[_Node], list[_Node]],
    wanted: Callable[[_Node], bool],
    matters: Callable[[list[_Node]], bool] = lambda hidden: True,
) -> Iterator[Line[_Node]]:
    """Yield the lines of a tree; ``top`` itself has none.

    :param below: Returns the children of a node, in order.
    :param wanted: Returns whether a branch gets lines of its own. The other children of a node are
        gathered in one line.
    :param matters: Returns whether these, where they branch off a chain, get their line at once;
        else they are gathered at the end of the chain.
    """
    # Stack of lines to come, the next one last: recursion would be as deep as the stacks.
    waiting: list[tuple[str, str, _Node | None, tuple[_Node, ...]]] = []

    def branch(kept: list[_Node], hidden: list[_Node], lead: str, marks: bool) -> None:
        ends: list[tuple[_Node | None, tuple[_Node, ...]]] = [(node, ()) for node in kept]
        if hidden:
            ends.append((None, tuple(hidden)))
        for index, end in reversed(list(enumerate(ends))):
            last = index == len(ends) - 1
            first, rest = ("└─", "  ") if last else ("├─", "│ ")
            waiting.append((lead + first * marks, lead + rest * marks, *end))

    def sorted_out(node: _Node, hidden: list[_Node]) -> list[_Node]:
        kept: list[_Node] = []
        for child in below(node):
            (kept if wanted(child) else hidden).append(child)
        return kept

    hidden: list[_Node] = []
    branch(sorted_out(top, hidden), hidden, "", marks=False)
    while waiting:
        first, rest, node, gathered = waiting.pop()
        if node is None:
            yield Line(first, hidden=gathered)
            continue
        hidden = []
        above = None
        while True:
            yield Line(first, node, above)
            kept = sorted_out(node, hidden)
            if len(kept) != 1:
                break
            if hidden and matters(hidden):
                yield Line(rest + "├─", hidden=tuple(hidden))
                hidden = []
            first, above, node = rest, node, kept[0]
        branch(kept, hidden, rest, marks=True)


def paths_to_top(
    top: _Node, below: Callable[[_Node], list[_Node]], weight: Callable[[_Node], float], most: int
) -> set[int]:
    """Return the ``id()`` of the ``most`` heaviest nodes and of their ancestors.

    :param weight: Returns the weight of a node; nodes of weight 0 don't count.
    """
    above: dict[int, _Node] = {}
    found, waiting = [], [top]
    while waiting:
        node = waiting.pop()
        if weight(node):
            found.append(node)
        for child in reversed(below(node)):
            above[id(child)] = node
            waiting.append(child)
    marked: set[int] = set()
    for node in sorted(found, key=lambda node: -weight(node))[:most]:
        while id(node) in above and id(node) not in marked:
            marked.add(id(node))
            node = above[id(node)]
    return marked
