# SPDX-License-Identifier: MIT
"""Write a profile as a recording."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, compress, islice
from operator import le

from kwalk.model.builder import ProfileBuilder
from kwalk.model.counts import Counts
from kwalk.model.ledger import Ledger
from kwalk.model.profile import BeyondLimits, ProfileData, Timeline
from kwalk.recording import codec
from kwalk.recording.facts import checked
from kwalk.recording.writer import RecordingWriter


def replay(profile: ProfileData, write: Callable[[bytes], object]) -> None:
    """Write a profile, interval by interval.

    Counts of one stack in one group are added up. A profile without a timeline is written as one
    interval that ends at 0. After each interval, a stack's scaled calls are their share by the hits
    recorded so far.

    :param write: Takes the bytes.
    :raises KwalkError: if a number exceeds a limit, the timeline does not add up to the counts, or
        a block is too large (``RecordingWriter.tick``).
    """
    profile.check()
    _check_told(profile)
    _check_named(profile)
    timeline = profile.checked_timeline()
    builder = ProfileBuilder()
    builder.add(profile.columns, timeline)
    counts, timeline = builder.build(rarest_first=False)
    if not timeline.ends:
        timeline = Timeline.one_interval(counts, 0.0)
    ends = timeline.ends
    columns = _Columns(counts)
    writer = RecordingWriter(write, profile.facts)
    # The times of losses are not known: until the last interval, no cause is written.
    so_far = Ledger(hits=profile.summary.ledger.hits)
    summary = replace(profile.summary, ledger=so_far)
    for number, (end, (rows, numbers)) in enumerate(
        zip(ends, _intervals(timeline), strict=True), 1
    ):
        rows, numbers = columns.met(rows, numbers)
        columns.record(so_far, rows, numbers)
        now = profile.summary if number == len(ends) else summary
        keys = columns.keys(writer, rows)
        writer.rows(keys, numbers, columns.calls(rows, numbers), end, now)
    writer.done()


def _check_told(profile: ProfileData) -> None:
    """Check that the summary and the facts can be read again.

    :raises BeyondLimits: if they cannot.
    """
    try:
        codec.summary_of(codec.from_json(codec.to_json(codec.summary_data(profile.summary))))
        checked(codec.from_json(codec.to_json(profile.facts)))
    except BeyondLimits:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BeyondLimits(
            f"the summary or the facts cannot be recorded: {error}",
            "Numbers are finite and have 64 bits; the rest is text, lists and objects, as in JSON.",
        ) from error


def _check_named(profile: ProfileData) -> None:
    """Check that frames and groups can be read again.

    :raises BeyondLimits: if one cannot, such as an address of more than 64 bits.
    """
    try:
        columns = profile.columns
        frames = set(chain.from_iterable(stack.frames for stack in columns.stacks))
        groups = filter(None, columns.groups)
        for frame in frames:
            codec.frame_of(*frame[:4])
        for group in groups:
            codec.group_of(*group)
    except (TypeError, ValueError) as error:
        raise BeyondLimits(
            f"a frame or a group cannot be recorded: {error}",
            "Offsets, addresses and numbers of groups are from 0 to 2^64 - 1; names are text.",
        ) from error


def _intervals(timeline: Timeline) -> Iterator[tuple[array[int], array[int]]]:
    """Yield the rows of each interval: indices of counts, numbers of hits."""
    intervals, rows, numbers = timeline.intervals, timeline.counts, timeline.numbers
    if not all(map(le, intervals, islice(intervals, 1, None))):
        order = sorted(range(len(intervals)), key=intervals.__getitem__)
        intervals = array("I", map(intervals.__getitem__, order))
        rows = array("I", map(rows.__getitem__, order))
        numbers = array("q", map(numbers.__getitem__, order))
    start = 0
    for index in range(len(timeline.ends)):
        stop = bisect_right(intervals, index, start)
        yield rows[start:stop], numbers[start:stop]
        start = stop


class _Columns:
    """Columns of a recording's ticks, made from the rows of one interval after the other."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._calls = counts.calls
        self._scaled = counts.scaled is not None
        self._keys: dict[int, int] = {}
        self._sums = [0] * len(counts)
        stacks = list(map(counts.stacks.__getitem__, counts.stack_of))
        self._truncated = [stack.truncated for stack in stacks]
        self._fallback = [stack.fallback for stack in stacks]

    def met(self, rows: array[int], numbers: array[int]) -> tuple[array[int], array[int]]:
        """Return the rows except for those with 0 hits, which matter only for scaled calls."""
        if self._scaled or 0 not in numbers:
            return rows, numbers
        return array("I", compress(rows, numbers)), array("q", filter(None, numbers))

    def record(self, ledger: Ledger, rows: array[int], numbers: array[int]) -> None:
        """Add the hits of the rows to a ledger."""
        ledger.recorded += sum(numbers)
        ledger.truncated += sum(compress(numbers, map(self._truncated.__getitem__, rows)))
        ledger.fallback += sum(compress(numbers, map(self._fallback.__getitem__, rows)))

    def keys(self, writer: RecordingWriter, rows: array[int]) -> array[int]:
        """Return the keys of the rows; new stacks and groups get theirs."""
        new = sorted(set(rows) - self._keys.keys())
        made = writer.keys(self._counts[index] for index in new)
        self._keys.update(zip(new, made, strict=True))
        return array("I", map(self._keys.__getitem__, rows))

    def calls(self, rows: array[int], numbers: array[int]) -> array[float] | None:
        """Return the scaled calls so far, for each row; None without sampling."""
        if not self._scaled:
            return None
        found = array("d")
        sums, counts, every = self._sums, self._counts.numbers, self._calls
        for index, number in zip(rows, numbers, strict=True):
            sums[index] += number
            whole = sums[index] == counts[index] or not counts[index]
            calls = every[index]
            found.append(calls if whole else calls * sums[index] / counts[index])
        return found
