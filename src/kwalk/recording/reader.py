# SPDX-License-Identifier: MIT
"""Read a recording as far as it is whole, with a note where its end is missing."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, BinaryIO

from kwalk.errors import KwalkError
from kwalk.model.builder import ProfileBuilder
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.profile import MOST, MOST_CALLS, MOST_SECONDS, ProfileData, Timeline
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording import codec
from kwalk.recording.agreement import agree, check_sums
from kwalk.recording.blocks import MAGIC, BlockKind, blocks
from kwalk.recording.broken import Broken, BrokenRecording
from kwalk.recording.facts import checked
from kwalk.recording.size_limits import MAX_DEPTH, Allowance, weight_of_frame, weight_of_group

_NO_RECORDING = "Recordings are made by `kwalk record`."
_ADDRESS = attrgetter("address")
_DAMAGED = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error),
    *(OverflowError, RecursionError),
)


def read(file: BinaryIO, name: str) -> ProfileData:
    """Return the profile of a recording.

    :param name: File name, for messages.
    :raises BrokenRecording: if it is not a recording, or not even its first tick is whole.
    """
    magic = file.read(len(MAGIC))
    if magic[:-1] != MAGIC[:-1]:
        raise BrokenRecording(f"{name} is not a recording of kwalk", _NO_RECORDING)
    if magic != MAGIC:
        raise BrokenRecording(
            f"{name} has version {magic[-1]} of the format; this kwalk reads {MAGIC[-1]}",
            "Read it with the kwalk that made it, or a newer one.",
        )
    allowance = Allowance()
    reader = _Reader(allowance)
    reason = "it was not ended"
    try:
        for kind, contents in blocks(file, allowance):
            reader.take(kind, contents)
            if reader.ended:
                reason = ""
    except Broken as error:
        reason = str(error)
    except MemoryError:
        raise KwalkError(
            f"there is not enough memory to read {name}", "Read it on a larger machine."
        ) from None
    except _DAMAGED:
        reason = "a block does not fit those before it"
    if reader.summary is None:
        raise BrokenRecording(
            f"{name} cannot be read: {reason}, before anything was recorded",
            "Record again; where the file was copied, copy it again.",
        )
    return reader.profile(reason)


class _Reader:
    """Takes blocks in order; a tick counts once its ledger has come."""

    def __init__(self, allowance: Allowance) -> None:
        self.ended = False
        self.summary: Summary | None = None
        self._timed = False
        self._allowance = allowance
        self._facts: dict[str, Any] = {}
        self._frames: list[Frame] = []
        # By node number: its parent, its frame, the number and the weight of the frames up to it.
        self._parents = array("I", [0])
        self._frame_of = array("I", [0])
        self._depths = array("H", [0])
        self._weights = array("Q", [0])
        self._groups: list[Group | None] = [None]
        self._frame_weights: list[int] = []
        self._group_weights = [weight_of_group(None)]
        self._keys: list[tuple[int, int, int]] = []
        self._recorded = 0
        self._called = 0.0
        self._settled = 0  # number of keys that may have rows in the timeline
        self._totals: list[int] = []
        self._calls: dict[int, float] = {}
        self._timeline = Timeline()
        self._pending: list[tuple[float, list[array[Any]]]] = []

    def take(self, kind: BlockKind | None, contents: bytes) -> None:
        """Take a block; unknown kinds are ignored."""
        if kind == BlockKind.BEGIN:
            self._allowance.add_text(contents)
            self._facts = checked(codec.from_json(contents))
        elif kind == BlockKind.FRAMES:
            frames = [codec.frame_of(*row) for row in codec.from_json(contents)]
            self._frames += frames
            self._frame_weights += map(weight_of_frame, frames)
        elif kind == BlockKind.NODES:
            self._add_nodes(*codec.unpack_columns(contents, "II"))
        elif kind == BlockKind.GROUPS:
            groups = [codec.group_of(*row) for row in codec.from_json(contents)]
            self._groups += groups
            self._group_weights += map(weight_of_group, groups)
        elif kind == BlockKind.KEYS:
            self._add_keys(*codec.unpack_columns(contents, "III"))
        elif kind == BlockKind.TICK:
            (seconds,) = codec.SECONDS.unpack_from(contents)
            if not 0 <= seconds < MOST_SECONDS:
                raise ValueError("a time out of range")
            body = contents[codec.SECONDS.size :]
            self._pending.append((seconds, codec.tick_rows(body, len(self._keys))))
        elif kind == BlockKind.LEDGER:
            self._allowance.add_text(contents)
            data = codec.from_json(contents)
            summary = codec.summary_of(data)
            self._settle(summary.ledger)
            self.summary = summary
            # Older recordings have no null for an unknown time.
            self._timed = "seconds" in data
        elif kind == BlockKind.END:
            self.ended = True

    def _add_nodes(self, parents: array[int], frames: array[int]) -> None:
        depths, weights, own = self._depths, self._weights, self._frame_weights
        for parent, frame in zip(parents, frames, strict=True):
            if parent >= len(depths) or frame >= len(own):
                raise ValueError("a node of nothing")
            if depths[parent] == MAX_DEPTH:
                raise Broken(f"a stack has more than {MAX_DEPTH:,} frames")
            depths.append(depths[parent] + 1)
            weights.append(weights[parent] + own[frame])
        self._parents.extend(parents)
        self._frame_of.extend(frames)

    def _add_keys(self, nodes: array[int], flags: array[int], groups: array[int]) -> None:
        if nodes and (max(nodes) >= len(self._parents) or max(groups) >= len(self._groups)):
            raise ValueError("a stack of nothing")
        self._keys.extend(zip(nodes, flags, groups, strict=True))
        self._totals += [0] * len(nodes)

    def _settle(self, ledger: Ledger) -> None:
        """Add the pending rows, which the ledger includes: they are whole."""
        recorded = self._recorded + sum(sum(numbers) for _, (_, numbers, *_) in self._pending)
        if recorded >= MOST:
            raise Broken(f"its counts add up to {MOST:,} or more")
        check_sums(recorded, ledger)
        scaled = dict(self._scaled_last())
        calls = self._called + sum(new - self._calls.get(key, 0.0) for key, new in scaled.items())
        if calls >= MOST_CALLS:
            raise Broken(f"its calls add up to {MOST_CALLS:,} or more")
        weights, groups = self._weights, self._group_weights
        new_keys = self._keys[self._settled :]
        self._allowance.add_keys(sum(weights[node] + groups[at] for node, _, at in new_keys))
        self._called = calls
        self._calls |= scaled
        self._recorded = recorded
        timeline, totals = self._timeline, self._totals
        for seconds, (keys, numbers, *_) in self._pending:
            for key, number in zip(keys, numbers, strict=True):
                totals[key] += number
            before = timeline.ends[-1] if timeline.ends else 0
            if seconds >= before + codec.SHORTEST or (keys and not timeline.ends):
                timeline.ends.append(seconds if seconds >= codec.SHORTEST else 0.0)
            timeline.intervals.extend(array("I", [max(len(timeline.ends) - 1, 0)]) * len(keys))
            timeline.counts.extend(keys)
            timeline.numbers.extend(numbers)
        self._pending.clear()
        self._settled = len(self._keys)

    def _scaled_last(self) -> Iterator[tuple[int, float]]:
        """Yield the scaled calls of each key; of several, the last is valid."""
        for _, (keys, _, *calls) in self._pending:
            for column in calls:
                yield from zip(keys, column, strict=True)

    def profile(self, reason: str) -> ProfileData:
        """Return the profile.

        :param reason: Reason why the recording is not whole; "" if it is.
        """
        assert self.summary
        summary, timeline = self.summary, self._timeline
        seconds = timeline.ends[-1] if timeline.ends else 0.0
        if not self._timed:
            summary.seconds = seconds or None
        if not seconds:  # the saved profile had no timeline
            timeline = Timeline()
        if reason:
            summary.notes.append(
                f"the recording is not whole ({reason}): only its first {seconds:.0f} s can be read"
            )
        builder = ProfileBuilder()
        builder.add(self._counts(), timeline)
        counts, timeline = builder.build()
        agree(summary, counts, not reason)
        return ProfileData(counts, summary, timeline, self._facts)

    def _counts(self) -> Iterator[Count | None]:
        """Yield the count of each key, None of keys without hits and calls.

        Equal stacks are one object, whatever nodes they have.
        """
        stacks: dict[tuple[int, int], Stack] = {}
        equal: dict[tuple[tuple[Frame, ...], int], Stack] = {}
        for index, (node, flags, group) in enumerate(self._keys[: self._settled]):
            stack = stacks.get((node, flags))
            if stack is None:
                made = self._stack(node, flags)
                stack = stacks[node, flags] = equal.setdefault(
                    (made.frames, codec.flags(made)), made
                )
            number, calls = self._totals[index], self._calls.get(index)
            yield Count(stack, number, self._groups[group], calls) if number or calls else None

    def _stack(self, node: int, flags: int) -> Stack:
        frames = []
        known, frame_of_node, parents = self._frames, self._frame_of, self._parents
        while node:
            frames.append(known[frame_of_node[node]])
            node = parents[node]
        frames.reverse()
        addresses = tuple(map(_ADDRESS, frames))
        cut, fallback = bool(flags & codec.TRUNCATED), bool(flags & codec.FALLBACK)
        return Stack(addresses, cut, fallback, tuple(frames))
