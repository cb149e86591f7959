# SPDX-License-Identifier: MIT
"""Tree of a recording: each node is a frame, its parent the frame that it called."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from operator import add, attrgetter, mul

from kwalk.model.stack import Frame, Stack
from kwalk.recording import codec
from kwalk.recording.broken import Broken
from kwalk.recording.size_limits import MAX_DEPTH, weight_of_frame
from kwalk.support.memo import Memo

_ADDRESS = attrgetter("address")
_FLAGS = codec.TRUNCATED | codec.FALLBACK
# Most nodes whose frames are remembered.
_PATHS = 1 << 12


class NodeTree:
    """Frames and nodes, by their numbers in the file; node 0 is the root, below innermost frames.

    :ivar weights: Weight of the frames up to each node (``size_limits.weight_of_frame``).
    """

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._frame_weights: list[int] = []
        # By node: its parent, its frame, the number of frames up to it.
        self._parents = array("I", [0])
        self._frame_of = array("I", [0])
        self._depths = array("H", [0])
        self.weights = array("Q", [0])
        self._paths = Memo(self._path, most=_PATHS)

    def __len__(self) -> int:
        return len(self._parents)

    def add_frames(self, frames: Sequence[Frame]) -> None:
        """Add frames."""
        self._frames += frames
        self._frame_weights += map(weight_of_frame, frames)

    def add_nodes(self, parents: array[int], frames: array[int]) -> None:
        """Add nodes by the numbers of their parents and frames.

        :raises ValueError: if there is no such parent or frame.
        :raises Broken: if a stack is too deep.
        """
        depths, weights, own = self._depths, self.weights, self._frame_weights
        for parent, frame in zip(parents, frames, strict=True):
            if parent >= len(depths) or frame >= len(own):
                raise ValueError("a node of nothing")
            if depths[parent] == MAX_DEPTH:
                raise Broken(f"a stack has more than {MAX_DEPTH:,} frames")
            depths.append(depths[parent] + 1)
            weights.append(weights[parent] + own[frame])
        self._parents.extend(parents)
        self._frame_of.extend(frames)

    def stacks(self, keys: Sequence[tuple[int, int]]) -> list[Stack]:
        """Return the stack of each node and flags. Equal stacks are one object."""
        found = [self._stack(node, flags) for node, flags in keys]
        if self._unique() and max((flags for _, flags in keys), default=0) <= _FLAGS:
            return found
        equal: dict[tuple[tuple[Frame, ...], int], Stack] = {}
        return [equal.setdefault((one.frames, codec.flags(one)), one) for one in found]

    def _unique(self) -> bool:
        """Return whether all nodes are of different stacks, as in recordings that kwalk writes."""
        width = len(self._frames)
        steps = list(map(add, map(mul, self._parents, repeat(width)), self._frame_of))[1:]
        return len(set(self._frames)) == width and len(set(steps)) == len(steps)

    def _path(self, node: int) -> tuple[tuple[Frame, ...], tuple[int, ...]]:
        """Return the frames up to a node, the innermost first, and their addresses."""
        frames = []
        while node:
            frames.append(self._frames[self._frame_of[node]])
            node = self._parents[node]
        frames.reverse()
        return tuple(frames), tuple(map(_ADDRESS, frames))

    def _stack(self, node: int, flags: int) -> Stack:
        cut, fallback = bool(flags & codec.TRUNCATED), bool(flags & codec.FALLBACK)
        if not node:
            return Stack((), cut, fallback)
        # Siblings mostly come one after the other.
        frames, addresses = self._paths[self._parents[node]]
        frame = self._frames[self._frame_of[node]]
        return Stack((*addresses, frame.address), cut, fallback, (*frames, frame))
