# SPDX-License-Identifier: MIT
"""Counts and timelines from rows: each row stays with its interval, its stack and its group."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import GROUPS, profiles, reread, stack, stacks, written

import kwalk
from kwalk.api.profile import Profile
from kwalk.model.builder import ProfileBuilder, Sums
from kwalk.model.profile import ProfileData, Timeline
from kwalk.model.stack import Count, Group, Stack
from kwalk.recording.replay import replay
from kwalk.report.top_n import LEFT_OUT, cut

A, B = stack("ip_rcv", "a", "main"), stack("ip_rcv", "b", "main")
RED, BLUE = Group("comm", 0, "red"), Group("comm", 0, "blue")
Rows = Counter[tuple[float, object, Group | None]]
Seen = Callable[[Count], tuple[object, Group | None] | None]


def key_of(count: Count) -> tuple[object, Group | None]:
    return count.stack.key, count.group


def rows_of(
    *parts: ProfileData, seen: Seen = key_of, interval: Callable[[float], float | None] = float
) -> Rows:
    """Hits by end of the interval, stack and group, parts one behind the other."""
    found: Rows = Counter()
    start = 0.0
    for part in parts:
        for index, place, number in part.timeline.rows():
            end, key = interval(start + part.timeline.ends[index]), seen(part.counts[place])
            if end is not None and key is not None and number:
                found[(end, *key)] += number
        start += part.seconds
    return found


def agrees(found: ProfileData) -> bool:
    """Whether the rows of each count add up to it, and no two counts are of one stack and group."""
    keys = [(count.stack, count.group) for count in found]
    return bool(found.checked_timeline().ends) and len(set(keys)) == len(keys)


def empty() -> Profile:
    return reread(written([[]]))


@st.composite
def timed(draw: st.DrawFn) -> tuple[Sequence[Count], Timeline]:
    """Counts in any order, some of one stack and group, and rows that add up to them."""
    known = st.sampled_from([A, B, Stack(A.addresses, frames=A.frames)])
    keys = draw(st.lists(st.tuples(known, st.sampled_from([None, RED, BLUE])), min_size=1))
    intervals = draw(st.integers(1, 3))
    places = st.integers(0, len(keys) - 1)
    rows = draw(st.lists(st.tuples(st.integers(0, intervals - 1), places, st.integers(0, 9))))
    numbers = [sum(row[2] for row in rows if row[1] == place) for place in range(len(keys))]
    counts = [Count(key[0], number, key[1]) for key, number in zip(keys, numbers, strict=True)]
    columns = (array(code, (row[at] for row in rows)) for at, code in enumerate("IIq"))
    return counts, Timeline([1.0 + second for second in range(intervals)], *columns)


@given(st.lists(timed(), min_size=1, max_size=3), st.booleans(), st.data())
def test_built_rows_belong_to_the_stacks_they_were_added_with(
    parts: list[tuple[Sequence[Count], Timeline]], rarest_first: bool, data: st.DataObject
) -> None:
    builder = ProfileBuilder()
    expected: Rows = Counter()
    start = 0.0
    for counts, timeline in parts:
        dropped = data.draw(st.sets(st.integers(0, len(counts) - 1)))
        kept = [None if at in dropped else count for at, count in enumerate(counts)]
        builder.add(kept, timeline)
        for interval, place, number in timeline.rows():
            if place not in dropped and number:
                count = counts[place]
                expected[start + timeline.ends[interval], count.stack, count.group] += number
        start += timeline.ends[-1]
    counts, timeline = builder.build(rarest_first)
    summary = empty().summary
    found = Profile(counts, summary, timeline)
    assert agrees(found)
    assert rows_of(found, seen=lambda count: (count.stack, count.group)) == expected
    calls = [count.calls for count in counts]
    assert not rarest_first or calls == sorted(calls)


@given(st.lists(profiles(), min_size=1, max_size=3))
def test_merged_timelines_stay_with_their_stacks(parts: list[Profile]) -> None:
    merged = kwalk.merge(*parts)
    assert agrees(merged)
    assert rows_of(merged) == rows_of(*parts)


@given(profiles(), st.sampled_from(["a", "b.cold", "c d"]), st.booleans())
def test_narrowed_timelines_stay_with_their_stacks(whole: Profile, name: str, apart: bool) -> None:
    part = whole.narrow(from_caller=f"^{re.escape(name)}$", until=name, apart=apart)

    def seen(count: Count) -> tuple[object, Group | None] | None:
        names = [frame.name for frame in count.stack.frames]
        if name not in [*names[1:], *(n.removesuffix(".cold") for n in names[1:])]:
            return None
        (shown,) = replace(whole, counts=[count], timeline=Timeline()).narrow(until=name)
        return shown.stack.key, count.group if apart else None

    assert agrees(part)
    assert rows_of(part) == rows_of(whole, seen=seen)


@given(profiles(), st.integers(0, 3), st.integers(1, 4))
def test_seconds_of_timelines_stay_with_their_stacks(
    whole: Profile, first: int, length: int
) -> None:
    if first >= whole.seconds:
        return
    part = whole.narrow(seconds=(first, first + length))
    last = min(first + length, whole.seconds)
    assert agrees(part)
    assert rows_of(part) == rows_of(
        whole, interval=lambda end: end - first if first < end <= last else None
    )


@given(profiles(), st.integers(1, 5))
def test_cut_timelines_stay_with_their_stacks(whole: Profile, top: int) -> None:
    part = cut(whole, top)
    hottest = {(count.stack, count.group) for count in whole.counts[-top:]}
    others = next((c.stack.key for c in part if c.stack.frames[0].name == LEFT_OUT), None)
    assert agrees(part)
    assert rows_of(part) == rows_of(
        whole,
        seen=lambda count: (
            key_of(count) if (count.stack, count.group) in hottest else (others, count.group)
        ),
    )


@given(stacks(), st.data())
def test_saved_timelines_stay_with_their_stacks(found: list[Stack], data: st.DataObject) -> None:
    """Also those of profiles whose counts are in no order, several of one stack and group."""
    keys = data.draw(st.lists(st.tuples(st.sampled_from(found), GROUPS), min_size=1, max_size=6))
    rows = data.draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, len(keys) - 1), st.integers(1, 9)),
            min_size=1,
        )
    )
    numbers = [sum(row[2] for row in rows if row[1] == place) for place in range(len(keys))]
    counts = [Count(key[0], number, key[1]) for key, number in zip(keys, numbers, strict=True)]
    columns = (array(code, (row[at] for row in rows)) for at, code in enumerate("IIq"))
    summary = empty().summary
    summary.ledger.lost.clear()
    summary.ledger.hits = summary.ledger.recorded = sum(numbers)
    whole = Profile(counts, summary, Timeline([1.0, 2.0, 3.0], *columns))
    file = bytearray()
    replay(whole, file.extend)
    again = reread(bytes(file))
    assert agrees(again)
    assert rows_of(again) == rows_of(whole)


def test_calls_of_sampled_hits_are_added_to_hits_that_stand_for_themselves() -> None:
    def added(*rows: tuple[int, float | None]) -> tuple[int, float | None]:
        sums: Sums[str] = Sums()
        assert {sums.add("key", *row) for row in rows} == {0}
        ((_, count, calls),) = sums
        return count, calls

    assert added((2, None), (3, None)) == (5, None)
    assert added((2, None), (3, 30.5)) == (5, 32.5)
    assert added((2, 4.0), (3, None)) == (5, 7.0)


@pytest.mark.parametrize(
    ("intervals", "places", "text"), [([0], [1], "no count"), ([1], [0], "no interval")]
)
def test_rows_of_nothing_are_refused(
    intervals: Sequence[int], places: Sequence[int], text: str
) -> None:
    columns: Any = array("I", intervals), array("I", places), array("q", [5])
    with pytest.raises(AssertionError, match=text):
        ProfileBuilder().add([Count(A, 5)], Timeline([1.0], *columns))
