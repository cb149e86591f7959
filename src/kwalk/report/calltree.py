# SPDX-License-Identifier: MIT
"""Call tree: stacks merged by the names of their functions, for tree and flame graph output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from kwalk.model.counts import Counts
from kwalk.model.stack import Count, Frame, Stack
from kwalk.report.frame_limits import Room
from kwalk.support.memo import Memo

TRUNCATED = "[truncated]"
_PATHS = 1 << 14


@dataclass(slots=True)
class CallNode:
    """A function in the context of those between it and the root, which stands for all hits.

    :ivar name: Name by ``function_name``; the root's is not shown.
    :ivar total: Hits whose stacks contain this node, scaled if sampled; in a comparison, of the
        later recording.
    :ivar own: Hits, of ``total``, whose stacks end at this node.
    :ivar before: In a comparison, ``total`` of the earlier recording, in the same unit. A new frame
        has 0; a frame that is gone has a ``total`` of 0.
    :ivar own_before: Hits, of ``before``, whose stacks end at this node.
    :ivar kind: Key of ``flame.colors.KINDS``; "" to take it from the name.
    :ivar children: Nodes by name, in the order of insertion.
    """

    name: str
    # Start from int 0: sums of ints are exact, however large.
    total: float = 0
    own: float = 0
    before: float = 0
    own_before: float = 0
    kind: str = ""
    children: dict[str, Self] = field(default_factory=dict)

    def hottest(self) -> list[Self]:
        """Return the children by descending total, then by name."""
        return sorted(self.children.values(), key=lambda node: (-node.total, node.name))


def function_name(frame: Frame, source: bool = True) -> str:
    """Return ``function`` or ``function [module]``; the address if the frame has no symbol.

    An inlined function is ``function (inlined)``.

    :param source: Append ``file:line`` if debug information has it.
    """
    name = frame.name or f"{frame.address:#x}"
    if frame.module:
        name = f"{name} [{frame.module}]"
    if frame.inlined:
        name = f"{name} (inlined)"
    return f"{name} {frame.source}" if source and frame.source else name


class FunctionNames:
    """Memo of frame names, by identity of the frame: stacks of one profile share their frames.

    :param name: Returns the name of a frame.
    """

    def __init__(self, name: Callable[[Frame], str] = function_name) -> None:
        self._name = name
        self._known: dict[int, str] = {}  # by id(): a frame's hash would take all of its fields
        self._held: list[Frame] = []

    def of(self, frame: Frame) -> str:
        """Return the name of a frame."""
        name = self._known.get(id(frame))
        if name is None:
            name = self._known[id(frame)] = self._name(frame)
            self._held.append(frame)
        return name


def path(
    count: Count, groups: bool = True, name: Callable[[Frame], str] = function_name
) -> list[str]:
    """Return a stack's functions, root first: the group, ``TRUNCATED`` if it is, then the frames.

    :param groups: Include the group.
    :param name: Returns the name of a frame.
    """
    front = [str(count.group)] if groups and count.group else []
    return front + stack_path(count.stack, name)


def stack_path(stack: Stack, name: Callable[[Frame], str] = function_name) -> list[str]:
    """Return a stack's functions, root first: ``TRUNCATED`` if it is, then the frames."""
    names = list(map(name, stack.frames))
    if stack.truncated:
        names.append(TRUNCATED)
    names.reverse()
    return names


def build(
    counts: Sequence[Count], callers: bool = False, room: Room[float] | None = None
) -> CallNode:
    """Return the tree of all stacks, under a root node without a name.

    :param callers: Begin at the traced function, with callers as children; by default begin at the
        outermost frame, with the traced function as a leaf.
    :param room: Limit of frames, which collects the hits of the stacks left out; None for a limit
        of its own.
    """
    room = Room() if room is None else room
    fronts = [[str(group)] if group else [] for group in Counts.of(counts).groups]
    return _build(_ordered(Counts.of(counts), room), fronts, _paths(callers), callers, room)


def trees(counts: Sequence[Count], room: Room[float] | None = None) -> dict[str, CallNode]:
    """Return a tree for each group, by its name ("" for none), the hottest first.

    :param room: Limit of frames for all trees together.
    """
    room = Room() if room is None else room
    ordered = _ordered(Counts.of(counts), room)
    names = [str(group) if group else "" for group in ordered.groups]
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(ordered.group_of):
        rows.setdefault(names[group], []).append(row)
    # The groups share the limit; the group of the hottest stack comes first.
    paths = _paths()
    fronts: list[list[str]] = [[]] * len(names)
    built = {
        name: _build(ordered.picked(those), fronts, paths, False, room)
        for name, those in rows.items()
    }
    found = {name: tree for name, tree in built.items() if tree.total}
    return dict(sorted(found.items(), key=lambda item: (-item[1].total, item[0])))


def _ordered(counts: Counts, room: Room[float]) -> Counts:
    """Return the counts, sorted by falling calls unless all of them fit for sure."""
    sizes = [len(stack.frames) for stack in counts.stacks]
    if not room.limits(sum(map(sizes.__getitem__, counts.stack_of))):
        return counts
    calls = counts.calls
    return counts.picked(sorted(range(len(calls)), key=calls.__getitem__, reverse=True))


_Paths = Memo[Stack, list[str]]


def _paths(callers: bool = False) -> _Paths:
    """Return the names of each stack, root first, or with ``callers`` last."""
    known = FunctionNames()
    step = -1 if callers else 1
    return Memo(lambda stack: stack_path(stack, known.of)[::step], _PATHS)


def _build(
    counts: Counts,
    fronts: Sequence[list[str]],
    paths: _Paths,
    callers: bool,
    room: Room[float],
) -> CallNode:
    """Return the tree of counts; ``fronts`` has the names ahead of the stack for each group."""
    top = CallNode("")
    for stack, group, calls in zip(
        map(counts.stacks.__getitem__, counts.stack_of), counts.group_of, counts.calls, strict=True
    ):
        front = fronts[group]
        names = paths[stack] + front if callers else front + paths[stack]
        if not room.takes(calls, top, names):
            continue
        node = top
        node.total += calls
        for name in names:
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = CallNode(name)
            node = child
            node.total += calls
        node.own += calls
        if front:
            (node if callers else top.children[names[0]]).kind = "group"
    return top
