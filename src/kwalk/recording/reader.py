# SPDX-License-Identifier: MIT
"""Read a recording as far as it is whole, with a note where its end is missing."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from kwalk.errors import KwalkError
from kwalk.model.builder import ProfileBuilder
from kwalk.model.counts import Counts
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.profile import MOST, MOST_CALLS, MOST_SECONDS, ProfileData, Timeline
from kwalk.model.stack import Group
from kwalk.recording import codec
from kwalk.recording.agreement import agree, check_sums
from kwalk.recording.blocks import MAGIC, BlockKind, blocks
from kwalk.recording.broken import Broken, BrokenRecording
from kwalk.recording.facts import checked
from kwalk.recording.node_tree import NodeTree
from kwalk.recording.size_limits import Allowance, weight_of_group
from kwalk.support.memo import Numbers

_NO_RECORDING = "Recordings are made by `kwalk record`."
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
        self._tree = NodeTree()
        self._groups: list[Group | None] = [None]
        self._group_weights = [weight_of_group(None)]
        # By key: its node, its flags, its group.
        self._nodes, self._flags, self._group_of = array("I"), array("I"), array("I")
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
            self._tree.add_frames([codec.frame_of(*row) for row in codec.from_json(contents)])
        elif kind == BlockKind.NODES:
            self._tree.add_nodes(*codec.unpack_columns(contents, "II"))
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
            self._pending.append((seconds, codec.tick_rows(body, len(self._nodes))))
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

    def _add_keys(self, nodes: array[int], flags: array[int], groups: array[int]) -> None:
        if nodes and (max(nodes) >= len(self._tree) or max(groups) >= len(self._groups)):
            raise ValueError("a stack of nothing")
        self._nodes.extend(nodes)
        self._flags.extend(flags)
        self._group_of.extend(groups)
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
        for column, weights in (
            (self._nodes, self._tree.weights),
            (self._group_of, self._group_weights),
        ):
            self._allowance.add_keys(sum(map(weights.__getitem__, column[self._settled :])))
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
        self._settled = len(self._nodes)

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
        counts, has_hits = self._counts(), self._has_hits()
        builder = ProfileBuilder()
        if all(has_hits):
            builder.add(counts, timeline)
        else:
            pairs = zip(counts, has_hits, strict=True)
            builder.add([count if hits else None for count, hits in pairs], timeline)
        counts, timeline = builder.build()
        agree(summary, counts, not reason)
        return ProfileData(counts, summary, timeline, self._facts)

    def _has_hits(self) -> Sequence[float]:
        """Return for each key a number that is 0 if it has neither hits nor calls."""
        hits = self._totals[: self._settled]
        if 0 not in hits:
            return hits
        return [number or self._calls.get(key, 0) for key, number in enumerate(hits)]

    def _counts(self) -> Counts:
        """Return the count of each key. Equal stacks are one object, whatever nodes they have."""
        size = self._settled
        numbers: Numbers[tuple[int, int]] = Numbers()
        keys = zip(self._nodes[:size], self._flags[:size], strict=True)
        stack_of = array("I", map(numbers.__getitem__, keys))
        stacks = self._tree.stacks(list(numbers))
        calls = list(map(self._calls.get, range(size))) if self._calls else None
        hits = self._totals[:size]
        return Counts(stacks, self._groups, stack_of, self._group_of[:size], hits, calls)
