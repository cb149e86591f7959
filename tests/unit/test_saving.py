# SPDX-License-Identifier: MIT
"""A profile that is saved and opened again is the same."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, reread, stack, written
from test_recording import million

import kwalk
from kwalk.errors import OutputError
from kwalk.profile import Profile, Timeline
from kwalk.recording import files
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


def test_calls_of_a_second_are_those_of_what_was_counted_until_then() -> None:
    """As docs/recording.md has it: the last value is the one that holds."""
    ticks = [[Count(A, 2, None, 21.0), Count(B, 9, None, 9.0)], [Count(A, 8, None, 84.5)]]
    pieces: list[bytes] = []
    replay(reread(written(ticks)), pieces.append)
    assert len(pieces) == 3
    first = reread(pieces[0])
    assert [(count.count, count.scaled) for count in first] == [(9, 9.0), (2, 84.5 * 2 / 8)]
    second = reread(b"".join(pieces[:2]))
    assert [(count.count, count.scaled) for count in second] == [(9, 9.0), (8, 84.5)]


def test_rows_may_come_in_any_order() -> None:
    found = profile(Count(A, 5), Count(B, 7))
    found.timeline = Timeline(
        [1.0, 2.0], array("I", [1, 0, 1, 0]), array("I", [0, 1, 1, 0]), array("q", [5, 3, 4, 0])
    )
    again = saved(found)
    assert by_interval(again) == by_interval(found)
    assert list(again.timeline.intervals) == [0, 1, 1]


def test_a_million_rows_are_saved() -> None:
    """Nothing is done in Python for each row: it takes about a second."""
    one = reread(million())
    started = time.monotonic()
    pieces = bytearray()
    replay(one, pieces.extend)
    assert time.monotonic() - started < 30
    other = reread(bytes(pieces))
    assert other.timeline == one.timeline
    assert other.summary == one.summary
    assert [count.count for count in other] == [count.count for count in one]


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
    assert path.stat().st_mode & 0o777 == 0o600


def device(path: Path, minor: int) -> Path:
    """A node like one of the memory devices (1, minor); the machine's own is left alone."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor))
        os.close(os.open(path, os.O_WRONLY))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    return path


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    profile(Count(A, 5)).save(fifo)
    data = os.read(fd, 1 << 16)
    os.close(fd)
    assert [count.count for count in reread(data)] == [5]
    assert fifo.is_fifo()
    assert os.listdir(tmp_path) == ["fifo"]


def test_so_does_a_device(tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    profile(Count(A, 5)).save(null)
    assert null.is_char_device()
    assert os.listdir(tmp_path) == ["null"]


def test_what_is_no_file_any_more_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody puts a pipe there while the recording is being written."""
    path = tmp_path / "a.rec"
    path.touch()

    def slow(profile: Profile, write: Any) -> None:
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(files, "replay", slow)
    with pytest.raises(kwalk.KwalkError, match="it is no file any more"):
        profile(Count(A, 5)).save(path)
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ["a.rec"]


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_where_writing_fails_all_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    path = tmp_path / "a.rec"
    if before is not None:
        path.write_bytes(before)

    def full(profile: Profile, write: Any) -> None:
        write(b"half of it")
        raise OutputError(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "a.rec")

    monkeypatch.setattr(files, "replay", full)
    with pytest.raises(kwalk.KwalkError, match="cannot be written: No space") as caught:
        profile(Count(A, 5)).save(path)
    assert caught.value.hint == "Give a file where there is room."
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before] * (before is not None)


def test_a_device_that_is_full_is_said(tmp_path: Path) -> None:
    full = device(tmp_path / "full", 7)
    with pytest.raises(kwalk.KwalkError, match=f"{full} cannot be written: No space"):
        profile(Count(A, 5)).save(full)
    assert full.is_char_device()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (errno.ENOENT, "Make the folder first, or give a file in one that is there."),
        (errno.EACCES, "Give a file where you may write."),
        (errno.EROFS, "Give a file where you may write."),
        (errno.EDQUOT, "Give a file where there is room."),
        (errno.EISDIR, "Give another file."),
    ],
)
def test_what_helps_depends_on_why_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, hint: str
) -> None:
    def fail(profile: Profile, write: Any) -> None:
        raise OutputError(OSError(error, os.strerror(error)), "a.rec")

    monkeypatch.setattr(files, "replay", fail)
    with pytest.raises(kwalk.KwalkError, match=os.strerror(error)) as caught:
        profile(Count(A, 5)).save(tmp_path / "a.rec")
    assert caught.value.hint == hint


def test_folders_that_are_missing_are_said(tmp_path: Path) -> None:
    path = tmp_path / "nowhere/a.rec"
    with pytest.raises(kwalk.KwalkError, match=f"{path} cannot be written: No such") as caught:
        profile(Count(A, 5)).save(path)
    assert caught.value.hint.startswith("Make the folder first")
    with pytest.raises(kwalk.KwalkError, match=f"{tmp_path} cannot be written: Is a directory"):
        profile(Count(A, 5)).save(tmp_path)


def test_what_is_no_recording_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something else\n")
    with pytest.raises(kwalk.BrokenRecording, match="not a recording"):
        kwalk.open(tmp_path / "x")
    with pytest.raises(kwalk.KwalkError, match="cannot be read: No such file") as caught:
        kwalk.open(tmp_path / "y")
    assert caught.value.hint == "Give the file that `kwalk record -o` or `Profile.save()` wrote."
