# SPDX-License-Identifier: MIT
"""The stacks that are seen most, as one tree of frames over all CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kwalk.abi import HAS_REGS, NODE, NodeKind, Source
from kwalk.arch.hot_frame import HotFrame
from kwalk.transport.context_tree import Tree

MOST_STACKS = 32
MOST_FRAMES = 4096
SHARE = 0.95
"""Share of the hits that is worth instructions: rare stacks would only be compared in vain."""

_FRAMES = {
    *(NodeKind.PLAIN, NodeKind.BP, NodeKind.DEREF, NodeKind.ALIGNED, NodeKind.STEP),
    *(NodeKind.USER, NodeKind.END, NodeKind.LAST),
}


class Path(NamedTuple):
    """A stack, from FUNC's caller outwards; equal ones of several CPUs are one.

    :ivar nodes: Offset, in each CPU's tree, of the node where it ends.
    :ivar hits: Hits on all CPUs.
    """

    frames: tuple[HotFrame, ...]
    nodes: dict[int, int]
    hits: int

    @property
    def key(self) -> tuple[tuple[int, bool], ...]:
        """Key that tells it from other stacks."""
        return tuple((frame.ip, frame.interrupted) for frame in self.frames)


Key = tuple[tuple[int, bool], ...]


class PathReader:
    """Reads the stacks of a tree, each node once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[int, tuple[HotFrame, ...] | None] = {}
        self._hits: dict[int, int] = {}

    def read(self) -> list[Path]:
        """Return the stacks that were seen since the last call, the most frequent first.

        Stacks with frames outside of the kernel's image, whose code may go away, are left out, as
        are truncated ones and the kernel's own.
        """
        new: dict[int, int] = {}
        for offset, node in self._tree.counted():
            leaf = node.parent if node.kind == NodeKind.GROUP else offset
            new[leaf] = new.get(leaf, 0) + node.ended
        found: dict[Key, Path] = {}
        for leaf, hits in new.items():
            frames = self._frames(leaf)
            since = hits - self._hits.get(leaf, 0)
            if not frames:
                continue
            path = Path(frames, {self._tree.cpu_of(leaf): leaf}, since)
            same = found.get(path.key)
            if same:
                path = Path(same.frames, same.nodes | path.nodes, same.hits + since)
            found[path.key] = path
        self._hits = new
        return sorted(found.values(), key=lambda path: -path.hits)

    def _frames(self, leaf: int) -> tuple[HotFrame, ...] | None:
        if leaf not in self._known:
            self._known[leaf] = self._look(leaf)
        return self._known[leaf]

    def _look(self, leaf: int) -> tuple[HotFrame, ...] | None:
        """Return the frames of a stack from FUNC's caller outwards; None if it cannot be a path."""
        frames: list[HotFrame] = []
        offset = leaf
        while True:
            node = self._tree.members(offset)
            kind = node["kind"]
            if kind == NodeKind.ROOT:
                frames.reverse()
                # Programs are generated for level 0 only.
                of_others = self._tree.is_kernels(offset) or self._tree.level_of(offset)
                return None if of_others else tuple(frames)
            if kind not in _FRAMES or node["source"] != Source.IMAGE:
                return None
            interrupted = bool(node["flags"] & HAS_REGS)
            frames.append(
                HotFrame(node["ip"], node["rule"], NodeKind(kind), node["delta"], interrupted)
            )
            offset = node["parent"]


assert {"ip", "rule", "kind", "delta", "flags", "source", "parent"} <= set(NODE.fields)


def hottest(paths: list[Path]) -> list[Path]:
    """Return the most frequent stacks that make ``SHARE`` of all hits, up to the limits."""
    total, taken, frames = sum(path.hits for path in paths), 0, 0
    chosen: list[Path] = []
    for path in paths:
        frames += len(path.frames)
        if not path.hits or len(chosen) == MOST_STACKS or frames > MOST_FRAMES:
            break
        if taken >= SHARE * total:
            break
        taken += path.hits
        chosen.append(path)
    return chosen


def merged(paths: list[Path], numbers: Mapping[Key, int]) -> HotFrame:
    """Return FUNC with its callers: the paths as a tree, the most frequent first everywhere.

    :param numbers: The number of each path.
    """
    root = HotFrame()
    for path in paths:
        at = root
        at.weight += path.hits
        for frame in path.frames:
            same = (f for f in at.callers if (f.ip, f.interrupted) == (frame.ip, frame.interrupted))
            known = next(same, None)
            if known is None:
                known = HotFrame(frame.ip, frame.rule, frame.kind, frame.delta, frame.interrupted)
                at.callers.append(known)
            known.weight += path.hits
            at = known
        at.leaf = numbers[path.key]
    for frame in root.all():
        frame.callers.sort(key=lambda caller: -caller.weight)
    return root
