# SPDX-License-Identifier: MIT
"""Trees as lines of text: an indentation only where a tree branches.

Kernel stacks are deep, but most of their frames have one caller and one callee: such a chain stands
on one level, a frame a line. Branches that are not wanted are gathered, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

_Node = TypeVar("_Node")


@dataclass(frozen=True, slots=True)
class Line(Generic[_Node]):
    """One line of an outline.

    :ivar lead: The lines of the tree, to the left of what is said.
    :ivar node: What this line is of; None where it is of what is hidden.
    :ivar above: The node of the line before, if this one goes on at its level.
    :ivar hidden: Branches that this line stands for.
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

    :param below: Returns the children of a node, in the order in which they are to stand.
    :param wanted: Whether a branch has lines of its own. Those of a node that have none are
        gathered in one line.
    :param matters: Whether that line is to stand where they part from a chain; else it stands at
        the end of the chain, for all that part from it.
    """
    # What is still to come, the next one last: a recursion would be as deep as the stacks.
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
    """Return the identities of the heaviest nodes, and of all on the way to them.

    :param weight: Nodes without a weight are not among them.
    :param most: How many of them there are at most.
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
