# SPDX-License-Identifier: MIT
"""The stacks that are seen most, as one tree of frames over all CPUs."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from operator import itemgetter
from typing import NamedTuple

from kwalk.abi import HAS_REGS, NODE, NodeKind, Source
from kwalk.arch.hot_frame import HotFrame
from kwalk.transport.context_tree import NODE_BYTES, PER_CPU, Tree

MOST_STACKS = 32
MOST_FRAMES = 4096
# Nodes where stacks end that are looked at, the ones with the most new hits: a tree may have many.
_LEAVES_PER_CPU, _MOST_LEAVES = 4 * MOST_STACKS, 4096
SHARE = 0.95
"""Share of the hits that is worth instructions: rare stacks would only be compared in vain."""

_FRAMES = {
    *(NodeKind.PLAIN, NodeKind.BP, NodeKind.DEREF, NodeKind.ALIGNED, NodeKind.STEP),
    *(NodeKind.USER, NodeKind.END, NodeKind.LAST),
}


Key = tuple[tuple[int, bool], ...]


class Path(NamedTuple):
    """A stack, from FUNC's caller outwards; equal ones of several CPUs are one.

    :ivar key: Key that tells it from other stacks.
    :ivar nodes: Offset, in each CPU's tree, of the node where it ends.
    :ivar hits: Hits on all CPUs.
    """

    key: Key
    frames: tuple[HotFrame, ...]
    nodes: dict[int, int]
    hits: int


class PathReader:
    """Reads the stacks of a tree that are seen most, each node once.

    :ivar total: Hits of all stacks between the last two calls of ``read``.
    """

    def __init__(self, tree: Tree, cpus: int) -> None:
        self._tree = tree
        self._most = min(_LEAVES_PER_CPU * cpus, _MOST_LEAVES)
        self._frames: dict[int, HotFrame] = {}
        self._parents: dict[int, int] = {}
        self._known: dict[int, tuple[Key, tuple[HotFrame, ...]] | None] = {}
        self._nodes: dict[Key, dict[int, int]] = {}
        self._hits: dict[int, int] = {}
        self.total = 0

    def read(self) -> list[Path]:
        """Return the stacks that were seen most since the last call, the most frequent first.

        Stacks with frames outside of the kernel's image, whose code may go away, are left out, as
        are truncated ones and the kernel's own.
        """
        new: dict[int, int] = {}
        for offset, node in self._tree.counted():
            leaf = node.parent if node.kind == NodeKind.GROUP else offset
            new[leaf] = new.get(leaf, 0) + node.ended
        since = {leaf: hits - self._hits.get(leaf, 0) for leaf, hits in new.items()}
        self._hits = new
        self.total = sum(since.values())
        found: dict[Key, Path] = {}
        for leaf, hits in heapq.nlargest(self._most, since.items(), key=itemgetter(1)):
            known = self._look(leaf) if hits else None
            if known:
                key, frames = known
                before = found[key].hits if key in found else 0
                found[key] = Path(key, frames, self._nodes[key], before + hits)
        return sorted(found.values(), key=lambda path: -path.hits)

    def _look(self, leaf: int) -> tuple[Key, tuple[HotFrame, ...]] | None:
        """Return the key and the frames of the stack that ends at a node; None if it has none."""
        if leaf not in self._known:
            known = None
            frames, root = self._read(leaf)
            if frames:
                key = tuple((frame.ip, frame.interrupted) for frame in frames)
                cpu = root // NODE_BYTES // PER_CPU - 1
                self._nodes.setdefault(key, {})[cpu] = leaf
                known = key, frames
            self._known[leaf] = known
        return self._known[leaf]

    def _read(self, leaf: int) -> tuple[tuple[HotFrame, ...], int]:
        """Return the frames of a stack from FUNC's caller outwards, none if it cannot be a path.

        The second value is the offset of the root.
        """
        frames: list[HotFrame] = []
        offset = leaf
        while True:
            frame = self._frames.get(offset)
            if frame is None:
                node = self._tree.members(offset)
                kind = node["kind"]
                if kind == NodeKind.ROOT:
                    frames.reverse()
                    # Programs are generated for level 0 only.
                    of_others = self._tree.is_kernels(offset) or self._tree.level_of(offset)
                    return (() if of_others else tuple(frames)), offset
                if kind not in _FRAMES or node["source"] != Source.IMAGE:
                    return (), 0
                interrupted = bool(node["flags"] & HAS_REGS)
                frame = HotFrame(
                    node["ip"], node["rule"], NodeKind(kind), node["delta"], interrupted
                )
                self._frames[offset] = frame
                self._parents[offset] = node["parent"]
            frames.append(frame)
            offset = self._parents[offset]


assert {"ip", "rule", "kind", "delta", "flags", "source", "parent"} <= set(NODE.fields)


def hottest(paths: list[Path], total: int) -> list[Path]:
    """Return the most frequent stacks that make ``SHARE`` of all hits, up to the limits.

    :param total: Hits of all stacks, whether or not they are in ``paths``.
    """
    taken = frames = 0
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
