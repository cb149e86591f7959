# SPDX-License-Identifier: MIT
"""Stacks by the names of their functions, as a tree: what trees and flame graphs are drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kwalk.stack import Count, Frame

TRUNCATED = "[truncated]"


@dataclass(slots=True)
class Node:
    """A function in its context.

    :ivar total: Calls whose stacks lead through here.
    :ivar own: Calls whose stacks end here.
    :ivar children: By name, in the order in which they were met.
    """

    name: str
    # Sums begin at a whole number: those of whole numbers are exact, however large they are.
    total: float = 0
    own: float = 0
    children: dict[str, Node] = field(default_factory=dict)

    def hottest(self) -> list[Node]:
        """Return the children, the hottest first; equal ones by name."""
        return sorted(self.children.values(), key=lambda node: (-node.total, node.name))


def function_name(frame: Frame, source: bool = True) -> str:
    """Return ``function`` or ``function [module]``, or the address where no symbol is known.

    What was inlined is ``function (inlined)``.

    :param source: Where debug information tells the line, it is part of the name, at its end.
    """
    name = frame.name or f"{frame.address:#x}"
    if frame.module:
        name = f"{name} [{frame.module}]"
    if frame.inlined:
        name = f"{name} (inlined)"
    return f"{name} {frame.source}" if source and frame.source else name


def path(count: Count, groups: bool = True) -> list[str]:
    """Return the names of a stack's functions, root first: its group, if any, then the frames.

    :param groups: Whether the group comes first.
    """
    stack = count.stack
    names = [function_name(frame) for frame in stack.frames]
    if stack.truncated:
        names.append(TRUNCATED)
    if groups and count.group:
        names.append(str(count.group))
    names.reverse()
    return names


def build(counts: Iterable[Count], callers: bool = False) -> Node:
    """Return the tree of all stacks, under a node without a name.

    :param callers: The traced function is the root's child, and its callers lie below; else the
        outermost frame is, and the traced function is a leaf.
    """
    top = Node("")
    for count in counts:
        names = path(count)
        if callers:
            names.reverse()
        calls = count.calls
        node = top
        node.total += calls
        for name in names:
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = Node(name)
            node = child
            node.total += calls
        node.own += calls
    return top
