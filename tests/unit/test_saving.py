# SPDX-License-Identifier: MIT
"""A profile that is saved and opened again is the same."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, reread, stack

import kwalk
from kwalk.profile import Profile
from kwalk.recording.replay import replay
from kwalk.stack import Count, Group

A, B = stack("ip_rcv", "a", "main"), stack("ip_rcv", "b@overlay", "main", truncated=True)


def rows(profile: Profile) -> Counter[Any]:
    """Counts by all that tells them apart."""
    found: Counter[Any] = Counter()
    for count in profile:
        s = count.stack
        key = s.addresses, s.frames, s.truncated, s.fallback, count.group, count.scaled
        found[key] += count.count
    return found


def by_interval(profile: Profile) -> Counter[Any]:
    """Numbers by interval and stack; rows of zero say nothing."""
    found: Counter[Any] = Counter()
    for interval, index, number in profile.timeline.rows():
        count = profile.counts[index]
        s = count.stack
        found[interval, s.frames, s.truncated, s.fallback, count.group] += number
    return +found


def saved(profile: Profile) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.rec")
        profile.save(path)
        assert os.listdir(folder) == ["a.rec"]
        return kwalk.open(path)


def same(one: Profile, other: Profile) -> bool:
    return (
        rows(one) == rows(other)
        and one.summary == other.summary
        and one.facts == other.facts
        and one.timeline.ends == other.timeline.ends
        and by_interval(one) == by_interval(other)
    )


@given(profiles())
def test_a_saved_profile_is_the_same(found: Profile) -> None:
    assert same(saved(found), found)


@given(profiles(), profiles())
def test_so_is_a_merged_one(a: Profile, b: Profile) -> None:
    assert same(saved(a + b), a + b)


def test_without_a_timeline_there_is_one_interval() -> None:
    found = profile(Count(A, 5, Group("cpu", 1, "")), Count(B, 1 << 40), ring_full=3)
    again = saved(found)
    assert rows(again) == rows(found)
    assert (again.summary, again.seconds) == (found.summary, 0.0)


def test_of_part_of_a_timeline_the_rest_is_in_the_last_interval() -> None:
    late = profile(Count(B, 7))
    whole = saved(profile(Count(A, 5)))
    whole.timeline.ends[:] = [2.0]
    merged = saved(whole + late)
    assert rows(merged) == rows(whole + late)
    assert sorted(by_interval(merged).values()) == [5, 7]
    assert merged.seconds == 2.0


def test_equal_stacks_are_added_up_however_often_it_is_saved() -> None:
    twin = stack("ip_rcv", "a", "main")
    group = Group("cpu", 1, "")
    found = profile(Count(A, 5, group), Count(twin, 7, group), Count(A, 2, group), Count(B, 1))
    for _ in range(3):
        found = saved(found)
        assert [(count.count, count.group) for count in found] == [(1, None), (14, group)]
        assert found.summary.ledger.recorded == 15
        assert sorted(by_interval(found).values()) == [1, 14]


def test_equal_stacks_stand_for_the_calls_of_all_of_them() -> None:
    twin = stack("ip_rcv", "a", "main")
    found = profile(Count(A, 5, None, 50.5), Count(twin, 7, None, 7.0), Count(A, 1, None, 2.5))
    for _ in range(3):
        found = saved(found)
        assert [(count.count, count.calls) for count in found] == [(13, 60.0)]


@given(profiles(), st.data())
def test_a_copy_that_is_cut_off_still_adds_up(found: Profile, data: st.DataObject) -> None:
    pieces = bytearray()
    replay(found, pieces.extend)
    size = data.draw(st.integers(0, len(pieces)))
    try:
        cut = reread(bytes(pieces[:size]))
    except kwalk.BrokenRecording:
        return
    ledger = cut.summary.ledger
    assert ledger.balance == 0
    assert ledger.hits == found.summary.ledger.hits
    assert ledger.recorded == sum(count.count for count in cut)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path, link = tmp_path / "a.rec", tmp_path / "link"
    link.symlink_to(path)
    profile(Count(A, 5)).save(path)
    profile(Count(A, 7)).save(str(link))
    assert link.is_symlink()
    assert [count.count for count in kwalk.open(path)] == [7]


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    profile(Count(A, 5)).save("/dev/null")
    assert not os.path.isfile("/dev/null")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    profile(Count(A, 5)).save(fifo)
    data = os.read(fd, 1 << 16)
    os.close(fd)
    assert [count.count for count in reread(data)] == [5]
    assert fifo.is_fifo()


@pytest.mark.parametrize("path", ["/nowhere/a.rec", "/dev/full"])
def test_where_it_cannot_be_written_that_is_said(path: str) -> None:
    with pytest.raises(kwalk.KwalkError, match=f"{path} cannot be written: "):
        profile(Count(A, 5)).save(path)


def test_what_is_no_recording_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something else\n")
    with pytest.raises(kwalk.BrokenRecording, match="not a recording"):
        kwalk.open(tmp_path / "x")
    with pytest.raises(kwalk.KwalkError, match="cannot be read: No such file"):
        kwalk.open(tmp_path / "y")
