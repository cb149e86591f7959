# SPDX-License-Identifier: MIT
"""Write a profile as the recording that it would have been."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace

from kwalk.ledger import Ledger, Summary
from kwalk.profile import Profile, Timeline, added_up
from kwalk.recording.writer import Writer


def replay(profile: Profile, write: Callable[[bytes], object]) -> None:
    """Write all of it, interval by interval.

    Counts of one stack in one group are added up. What is counted in no interval, as in a profile
    without a timeline, belongs to the last.

    :param write: Takes the bytes.
    """
    writer = Writer(write, profile.facts)
    counts, places = added_up(profile)
    timeline = profile.timeline
    if len(counts) < len(places):
        moved = array("I", map(places.__getitem__, timeline.counts))
        timeline = replace(timeline, counts=moved)
    sums = [0] * len(counts)
    so_far = Ledger(hits=profile.summary.ledger.hits)

    def now() -> Summary:
        # What was lost when is not known; what came later is not recorded yet.
        return replace(profile.summary, ledger=replace(so_far, lost={}))

    for end, rows in _intervals(timeline):
        for index, number in rows:
            sums[index] += number
            so_far.record(counts[index].stack, number)
        met = dict.fromkeys(index for index, _ in rows)
        writer.tick([replace(counts[index], count=sums[index]) for index in met], end, now())
    seen = set(timeline.counts)
    rest = [
        count
        for index, count in enumerate(counts)
        if index not in seen or count.count != sums[index]
    ]
    writer.end(rest, profile.seconds, profile.summary)


def _intervals(timeline: Timeline) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    """Iterate over each interval's end and its rows: (index of the count, number)."""
    rows: list[list[tuple[int, int]]] = [[] for _ in timeline.ends]
    for interval, index, number in timeline.rows():
        rows[interval].append((index, number))
    return zip(timeline.ends, rows, strict=True)
