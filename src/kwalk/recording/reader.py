# SPDX-License-Identifier: MIT
"""Read a recording: as far as it is whole, with a note where that is not to its end."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterator
from math import isfinite
from typing import Any, BinaryIO

from kwalk.ledger import Summary
from kwalk.profile import Profile, Timeline, added_up
from kwalk.recording import codec, typed
from kwalk.recording.blocks import MAGIC, Broken, BrokenRecording, Kind, blocks
from kwalk.recording.facts import checked
from kwalk.stack import Count, Frame, Group, Stack

_NO_RECORDING = "Recordings are made by `kwalk record`."
_NOWHERE = (1 << 32) - 1
_MOST = 1 << 62
# Of events in an interval: millions of such do not get to _MOST.
_USUAL = 1 << 40
_DAMAGED = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error),
    *(OverflowError, RecursionError),
)


def read(file: BinaryIO, name: str) -> Profile:
    """Return what was recorded.

    :param name: Of the file, for messages.
    :raises BrokenRecording: if it is none, or not even its beginning is whole.
    """
    magic = file.read(len(MAGIC))
    if magic[:-1] != MAGIC[:-1]:
        raise BrokenRecording(f"{name} is not a recording of kwalk", _NO_RECORDING)
    if magic != MAGIC:
        raise BrokenRecording(
            f"{name} has version {magic[-1]} of the format; this kwalk reads {MAGIC[-1]}",
            "Read it with the kwalk that made it, or a newer one.",
        )
    reader = _Reader()
    reason = "it was not ended"
    try:
        for kind, contents in blocks(file):
            reader.take(kind, contents)
            if reader.ended:
                reason = ""
    except Broken as error:
        reason = str(error)
    except _DAMAGED:
        reason = "a block does not fit those before it"
    if reader.summary is None:
        raise BrokenRecording(
            f"{name} cannot be read: {reason}, before anything was recorded",
            "Record again; where the file was copied, copy it again.",
        )
    return reader.profile(reason)


class _Reader:
    """Takes blocks as they come; only whole ticks count."""

    def __init__(self) -> None:
        self.ended = False
        self.summary: Summary | None = None
        self._facts: dict[str, Any] = {}
        self._frames: list[Frame] = []
        self._nodes: list[tuple[int, int]] = [(0, 0)]
        self._groups: list[Group | None] = [None]
        self._keys: list[tuple[int, int, int]] = []
        self._settled = 0  # keys with rows; what was named later has none
        self._totals: list[int] = []
        self._calls: dict[int, float] = {}
        self._timeline = Timeline()
        self._pending: list[tuple[float, list[array[Any]]]] = []

    def take(self, kind: Kind | None, contents: bytes) -> None:
        """Take a block; those of a kind that is not known are passed over."""
        if kind == Kind.BEGIN:
            self._facts = checked(json.loads(contents))
        elif kind == Kind.FRAMES:
            self._frames += [_frame(*row) for row in json.loads(contents)]
        elif kind == Kind.NODES:
            self._add_nodes(*codec.unpack_columns(contents, "II"))
        elif kind == Kind.GROUPS:
            self._groups += [_group(*row) for row in json.loads(contents)]
        elif kind == Kind.KEYS:
            self._add_keys(*codec.unpack_columns(contents, "III"))
        elif kind == Kind.TICK:
            (seconds,) = codec.SECONDS.unpack_from(contents)
            if not 0 <= seconds < _MOST:
                raise ValueError("a time that is none")
            body = contents[codec.SECONDS.size :]
            self._pending.append((seconds, _rows(body, len(self._keys))))
        elif kind == Kind.LEDGER:
            summary = codec.summary_of(json.loads(contents))
            self._settle()
            self.summary = summary
        elif kind == Kind.END:
            self.ended = True

    def _add_nodes(self, parents: array[int], frames: array[int]) -> None:
        for parent, frame in zip(parents, frames, strict=True):
            if parent >= len(self._nodes) or frame >= len(self._frames):
                raise ValueError("a node of nothing")
            self._nodes.append((parent, frame))

    def _add_keys(self, nodes: array[int], flags: array[int], groups: array[int]) -> None:
        for key in zip(nodes, flags, groups, strict=True):
            if key[0] >= len(self._nodes) or key[2] >= len(self._groups):
                raise ValueError("a stack of nothing")
            self._keys.append(key)
        self._totals += [0] * len(nodes)

    def _settle(self) -> None:
        """The ledger that follows is one of these rows as well: they are whole."""
        columns = [rows[1] for _, rows in self._pending if rows[1]]
        usual = all(0 <= min(numbers) <= max(numbers) < _USUAL for numbers in columns)
        totals = self._totals if usual else self._totals.copy()
        for _, (keys, numbers, *_) in self._pending:
            for key, number in zip(keys, numbers, strict=True):
                totals[key] += number
        if not usual and not 0 <= min(totals) <= max(totals) < _MOST:
            raise ValueError("counts below nothing, or beyond all")
        self._totals = totals
        timeline = self._timeline
        for seconds, (keys, numbers, *calls) in self._pending:
            if seconds > (timeline.ends[-1] if timeline.ends else 0) or (
                keys and not timeline.ends
            ):
                timeline.ends.append(seconds)
            timeline.intervals.extend(array("I", [max(len(timeline.ends) - 1, 0)]) * len(keys))
            timeline.counts.extend(keys)
            timeline.numbers.extend(numbers)
            for column in calls:
                self._calls.update(zip(keys, column, strict=True))
        self._pending.clear()
        self._settled = len(self._keys)

    def profile(self, reason: str) -> Profile:
        """Return all of it.

        :param reason: Why it is not whole; "" where it is.
        """
        assert self.summary
        summary, ledger = self.summary, self.summary.ledger
        if summary.seconds is None and self._timeline.ends:
            summary.seconds = self._timeline.ends[-1]
        if reason:
            ledger.lose("not_recorded", max(ledger.balance, 0))
            seconds = self._timeline.ends[-1] if self._timeline.ends else 0
            summary.notes.append(
                f"the recording is not whole ({reason}): this is what there is of its first "
                f"{seconds:.0f} s"
            )
        counts, rows = added_up(self._counts())
        # A key that came with no count is nothing that was met.
        met = [index for index, count in enumerate(counts) if count.count or count.calls]
        order = sorted(met, key=lambda index: counts[index].calls)
        place = {old: new for new, old in enumerate(order)}
        places = [place.get(row, _NOWHERE) for row in rows]
        timeline = self._timeline
        timeline.counts = array("I", map(places.__getitem__, timeline.counts))
        if len(met) < len(counts):
            timeline = timeline.only(lambda index: index != _NOWHERE)
        return Profile([counts[index] for index in order], summary, timeline, self._facts)

    def _counts(self) -> Iterator[Count]:
        """Yield the count of each key; equal stacks are one object, whatever nodes they have."""
        stacks: dict[tuple[int, int], Stack] = {}
        equal: dict[tuple[tuple[Frame, ...], int], Stack] = {}
        for index, (node, flags, group) in enumerate(self._keys[: self._settled]):
            stack = stacks.get((node, flags))
            if stack is None:
                made = self._stack(node, flags)
                stack = stacks[node, flags] = equal.setdefault(
                    (made.frames, codec.flags(made)), made
                )
            yield Count(stack, self._totals[index], self._groups[group], self._calls.get(index))

    def _stack(self, node: int, flags: int) -> Stack:
        frames = []
        while node:
            node, frame = self._nodes[node]
            frames.append(self._frames[frame])
        frames.reverse()
        addresses = tuple(frame.address for frame in frames)
        cut, fallback = bool(flags & codec.TRUNCATED), bool(flags & codec.FALLBACK)
        return Stack(addresses, cut, fallback, tuple(frames))


def _frame(name: object, offset: object, module: object, address: object) -> Frame:
    numbers = typed.of(int, offset), typed.of(int, address)
    return Frame(typed.of(str, name), numbers[0], typed.of(str, module), numbers[1])


def _group(kind: object, number: object, name: object) -> Group:
    return Group(typed.of(str, kind), typed.of(int, number), typed.of(str, name))


def _rows(data: bytes, keys: int) -> list[array[Any]]:
    """Return the columns of a tick, a third one where calls are scaled."""
    length = int.from_bytes(data[:4], "little")
    codes = "Iqd" if len(data) > 4 + 12 * length else "Iq"
    columns = codec.unpack_columns(data, codes)
    if columns[0] and max(columns[0]) >= keys:
        raise ValueError("a row of nothing")
    for calls in columns[2:]:
        if calls and not (0 <= min(calls) <= max(calls) < _MOST and isfinite(sum(calls))):
            raise ValueError("calls that are no number of them")
    return columns
