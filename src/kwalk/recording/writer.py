# SPDX-License-Identifier: MIT
"""Write a recording while it grows: each tick has the new hits, then the current ledger."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording import codec
from kwalk.recording.blocks import MAGIC, BlockKind, pack, padding
from kwalk.recording.broken import TooLarge
from kwalk.recording.size_limits import (
    MAX_DEPTH,
    Allowance,
    weight_of_frame,
    weight_of_group,
    weight_of_text,
)

# Most rows of a block; a tick with more has several blocks.
ROWS = 1 << 20
_Key = tuple[Stack, Group | None]


class RecordingWriter:
    """Writes the growth of counts from tick to tick as blocks.

    :param write: Takes the bytes of a tick, all in one call.
    :param facts: See ``ProfileData``.
    """

    def __init__(self, write: Callable[[bytes], object], facts: dict[str, Any]) -> None:
        self._write = write
        self._frames: dict[Frame, int] = {}
        self._nodes: dict[tuple[int, int], int] = {}
        self._groups: dict[Group, int] = {}
        self._keys: dict[_Key, int] = {}
        self._leaves: dict[Stack, int] = {}
        self._before: dict[int, int] = {}
        self._allowance = Allowance()
        self._weights = array("Q", [0])  # by node, as in the reader
        self._heavier = 0  # the weight of keys that are not written yet
        self._head = MAGIC
        self._facts = codec.to_json(facts)
        self._clear()

    def _clear(self) -> None:
        self._new_frames: list[Frame] = []
        self._new_groups: list[Group] = []
        self._new_nodes = array("I"), array("I")
        self._new_keys = array("I"), array("I"), array("I")

    def tick(self, counts: Sequence[Count], seconds: float, summary: Summary) -> None:
        """Write the hits since the last tick.

        :param counts: All counts so far, each stack and group once.
        :param seconds: Time since the capture began.
        :param summary: Summary so far.
        :raises KwalkError: if a block, of names or of the summary, is larger than 64 MiB, or a
            stack has more than ``size_limits.MAX_DEPTH`` frames.
        """
        keys, numbers, calls = array("I"), array("q"), array("d")
        scaled = any(count.scaled is not None for count in counts)
        for key, count in zip(self.keys(counts), counts, strict=True):
            number = count.count - self._before.get(key, 0)
            if not number and not scaled:
                continue
            self._before[key] = count.count
            keys.append(key)
            numbers.append(number)
            calls.append(count.calls)
        self.rows(keys, numbers, calls if scaled else None, seconds, summary)

    def end(self, counts: Sequence[Count], seconds: float, summary: Summary) -> None:
        """Write the last tick and the end of the recording.

        :raises KwalkError: as ``tick`` does.
        """
        self.tick(counts, seconds, summary)
        self.done()

    def keys(self, counts: Iterable[Count]) -> array[int]:
        """Return the key of each count's stack and group; the next tick defines new keys."""
        return array("I", map(self._key, counts))

    def rows(
        self,
        keys: array[int],
        numbers: array[int],
        calls: array[float] | None,
        seconds: float,
        summary: Summary,
    ) -> None:
        """Write a tick of columns.

        :param keys: Keys, from ``keys()``.
        :param numbers: Recorded hits of each key since the last tick.
        :param calls: Scaled calls of each key so far; None without sampling.
        :raises KwalkError: as ``tick`` does.
        """
        # A reader counts the facts before it sees what follows: their padding is their own.
        head = b""
        if self._head:
            head = self._head + self._packed(
                [(BlockKind.BEGIN, self._facts)], weight_of_text(self._facts)
            )
        parts = self._named()
        columns: list[array[Any]] = [keys, numbers] if calls is None else [keys, numbers, calls]
        for start in range(0, max(len(keys), 1), ROWS):
            rows = codec.pack_columns(*(column[start : start + ROWS] for column in columns))
            parts.append((BlockKind.TICK, codec.SECONDS.pack(seconds) + rows))
        ledger = codec.to_json(codec.summary_data(summary))
        parts.append((BlockKind.LEDGER, ledger))
        # The blocks written so far can be read from now on.
        self._write(head + self._packed(parts, self._heavier + weight_of_text(ledger)))
        self._head, self._facts, self._heavier = b"", b"", 0

    def _packed(self, parts: list[tuple[BlockKind, bytes]], weight: int) -> bytes:
        """Return blocks, ahead of them the padding that makes room for their contents."""
        blocks = [pack(kind, contents) for kind, contents in parts]
        sizes = [(len(block), len(part[1])) for block, part in zip(blocks, parts, strict=True)]
        blocks.insert(0, self._allowance.padding(sizes, weight, padding))
        return b"".join(blocks)

    def done(self) -> None:
        """Write the end of the recording."""
        self._write(pack(BlockKind.END, b""))

    def _named(self) -> list[tuple[BlockKind, bytes]]:
        """Return the blocks that define new frames, nodes, groups and keys."""
        blocks = []
        if self._new_frames:
            rows = [frame[:4] for frame in self._new_frames]  # source and inlined are not recorded
            blocks.append((BlockKind.FRAMES, codec.to_json(rows)))
        if self._new_nodes[0]:
            blocks.append((BlockKind.NODES, codec.pack_columns(*self._new_nodes)))
        if self._new_groups:
            blocks.append((BlockKind.GROUPS, codec.to_json(self._new_groups)))
        if self._new_keys[0]:
            blocks.append((BlockKind.KEYS, codec.pack_columns(*self._new_keys)))
        self._clear()
        return blocks

    def _key(self, count: Count) -> int:
        """Return the key of a stack and group, from 0."""
        wanted = count.stack, count.group
        found = self._keys.get(wanted)
        if found is None:
            found = self._keys[wanted] = len(self._keys)
            node, flags, group = self._new_keys
            leaf = self._leaf(count.stack)
            node.append(leaf)
            flags.append(codec.flags(count.stack))
            group.append(self._group(count.group))
            self._heavier += self._weights[leaf] + weight_of_group(count.group)
        return found

    def _leaf(self, stack: Stack) -> int:
        """Return the node of a stack's outermost frame; node 0 is below the innermost."""
        if stack not in self._leaves:
            if len(stack.frames) > MAX_DEPTH:
                raise TooLarge(
                    f"a stack has {len(stack.frames):,} frames",
                    f"A recording holds stacks of {MAX_DEPTH:,} frames at most.",
                )
            node = 0
            for frame in stack.frames:
                if frame not in self._frames:
                    self._frames[frame] = len(self._frames)
                    self._new_frames.append(frame)
                step = node, self._frames[frame]
                if step not in self._nodes:
                    self._nodes[step] = len(self._nodes) + 1
                    self._weights.append(self._weights[node] + weight_of_frame(frame))
                    for column, value in zip(self._new_nodes, step, strict=True):
                        column.append(value)
                node = self._nodes[step]
            self._leaves[stack] = node
        return self._leaves[stack]

    def _group(self, group: Group | None) -> int:
        """Return the number of a group, from 1; 0: no group."""
        if group is None:
            return 0
        if group not in self._groups:
            self._groups[group] = len(self._groups) + 1
            self._new_groups.append(group)
        return self._groups[group]
