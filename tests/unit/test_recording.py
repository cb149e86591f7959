# SPDX-License-Identifier: MIT
"""Recordings: what is written is read again, as far as the file is whole."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import FACTS, growing, reread, stack, summary, written

from kwalk.api.profile import Profile
from kwalk.model.ledger import Difference, Sampling, TreeUse, Verify
from kwalk.model.stack import Count, Group, Stack
from kwalk.recording import codec
from kwalk.recording.agreement import UNMATCHED
from kwalk.recording.blocks import MAGIC, MAX_BYTES, BlockKind, blocks, pack
from kwalk.recording.broken import BrokenRecording
from kwalk.recording.reader import read
from kwalk.recording.writer import RecordingWriter

A, B = stack("ip_rcv", "a", "main"), stack("ip_rcv", "b@overlay", "main", truncated=True)
TICKS = [[Count(A, 5)], [Count(A, 7), Count(B, 1)], [Count(A, 7), Count(B, 90)]]


def rows(counts: Sequence[Count]) -> Counter[Any]:
    """Counts by all that tells them apart."""
    found: Counter[Any] = Counter()
    for count in counts:
        s = count.stack
        found[s.frames, s.truncated, s.fallback, count.group] += count.count
    return found


def calls(counts: Sequence[Count]) -> dict[Any, Any]:
    """Calls by all that tells counts apart, where not all were taken."""
    found: dict[Any, float] = {}
    for count in counts:
        s = count.stack
        if count.count and count.scaled is not None:
            key = s.frames, s.truncated, s.fallback, count.group
            found[key] = found.get(key, 0) + count.scaled
    return found


@given(growing(least=0, odd=True))
def test_recording_reads_back_as_written(ticks: list[Sequence[Count]]) -> None:
    profile = reread(written(ticks))
    assert rows(profile.counts) == rows(ticks[-1])
    assert len(profile) == len(+rows(ticks[-1]))
    assert calls(profile.counts) == pytest.approx(calls(ticks[-1]))
    assert [count.calls for count in profile] == sorted(count.calls for count in profile)
    assert profile.summary == summary(ticks[-1], recursion=1)
    assert profile.facts == FACTS
    assert profile.timeline.ends == [float(second) for second in range(1, len(ticks) + 1)]
    for second, counts in enumerate(ticks):
        sums = [0] * len(profile.counts)
        for interval, index, number in profile.timeline.rows():
            sums[index] += number if interval <= second else 0
        then = [replace(c, count=n, scaled=None) for c, n in zip(profile, sums, strict=True) if n]
        assert rows(then) == rows([replace(count, scaled=None) for count in counts])


@given(growing(least=0, odd=True), st.data())
def test_wherever_it_is_cut_what_comes_before_is_read(
    ticks: list[Sequence[Count]], data: st.DataObject
) -> None:
    """As by a kill, at any byte."""
    ends = [len(written(ticks[:number], end=False)) for number in range(1, len(ticks) + 1)]
    whole = written(ticks)
    size = data.draw(st.integers(0, len(whole) - 1))
    number = sum(end <= size for end in ends)
    if number < 1:
        with pytest.raises(BrokenRecording):
            reread(whole[:size])
        return
    profile = reread(whole[:size])
    assert rows(profile.counts) == rows(ticks[number - 1])
    assert profile.summary.ledger.balance == 0
    assert "the recording is not whole" in profile.summary.notes[-1]


def test_calls_after_the_last_second_are_told() -> None:
    """A ledger of a running capture is ahead of what was read of its stacks."""
    data = bytearray()
    ahead = summary([Count(A, 5)])
    ahead.ledger.hits += 3
    RecordingWriter(data.extend, {}).tick([Count(A, 5)], 1.0, ahead)
    profile = reread(bytes(data))
    assert profile.summary.ledger.lost == {"not_recorded": 3}
    assert profile.summary.ledger.balance == 0
    assert "it was not ended" in profile.summary.notes[-1]


def test_10000_damaged_files_give_a_message_or_a_beginning() -> None:
    whole = written(TICKS)
    wanted = [rows(counts) for counts in TICKS]
    dice = random.Random(7)
    refused = 0
    started = time.monotonic()
    for _ in range(10_000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            what = dice.random()
            if what < 0.5:
                data[at] ^= 1 << dice.randrange(8)
            elif what < 0.7:
                del data[at : at + dice.randint(1, 40)]
            elif what < 0.9:
                data[at:at] = dice.randbytes(dice.randint(1, 40))
            else:
                data[at : at + 4] = b"\xff\xff\xff\x7f"
        try:
            profile = reread(bytes(data))
        except BrokenRecording:
            refused += 1
            continue
        # Of a whole block that is missing, the ledger tells.
        assert rows(profile.counts) in wanted or UNMATCHED in profile.summary.notes
        assert profile.summary.ledger.balance == 0
    assert 0 < refused < 10_000
    assert time.monotonic() - started < 100


ZERO, ONE = array("I", [0]), array("I", [9999])
GOOD = written(TICKS[:1], end=False)


@pytest.mark.parametrize(
    ("kind", "contents"),
    [
        (BlockKind.FRAMES, b"[[1,2,3,4]]"),
        (BlockKind.FRAMES, b"{"),
        (BlockKind.FRAMES, b'[["a",1,""]]'),
        (BlockKind.NODES, codec.pack_columns(ONE, ONE)),
        (BlockKind.NODES, b"\xff\xff\xff\xff"),
        (BlockKind.KEYS, codec.pack_columns(ONE, ONE, ONE)),
        (BlockKind.TICK, b""),
        (BlockKind.TICK, codec.SECONDS.pack(2) + codec.pack_columns(ONE, array("q", [1]))),
        (BlockKind.TICK, codec.SECONDS.pack(2) + codec.pack_columns(ZERO, array("q", [-1]))),
        (BlockKind.LEDGER, b"[]"),
        (BlockKind.LEDGER, b'{"ledger":{"hits":"many"}}'),
        (BlockKind.GROUPS, b"[[]]"),
    ],
)  # fmt: skip
def test_blocks_that_are_whole_but_wrong_end_it(kind: BlockKind, contents: bytes) -> None:
    profile = reread(GOOD + pack(kind, contents))
    assert rows(profile.counts) == rows(TICKS[0])
    assert "a block does not fit those before it" in profile.summary.notes[-1]


def test_decompression_bomb_takes_no_memory() -> None:
    import zlib

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    check = zlib.crc32(packed, zlib.crc32(b"NODE"))
    bomb = b"NODE" + len(packed).to_bytes(4, "little") + check.to_bytes(4, "little") + packed
    tracemalloc.start()
    profile = reread(GOOD + bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "it unpacks to more than its size allows" in profile.summary.notes[-1]
    assert peak < 2.5 * MAX_BYTES


def test_blocks_are_read_from_a_file_that_gives_a_few_bytes_at_a_time() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    data = written(TICKS)[len(MAGIC) :]
    found = list(blocks(Trickle(data)))
    assert found == list(blocks(io.BytesIO(data)))
    assert found[-1] == (BlockKind.END, b"")


def test_concatenated_recording_is_told() -> None:
    one = written(TICKS)
    profile = reread(one + one)
    assert rows(profile.counts) == rows(TICKS[-1])
    assert "another recording follows" in profile.summary.notes[-1]


def test_blocks_of_a_later_version_are_passed_over() -> None:
    check_of = pack(BlockKind.END, b"x")
    later = b"NEWS" + check_of[4:8]
    import zlib

    packed = check_of[12:]
    later += zlib.crc32(packed, zlib.crc32(b"NEWS")).to_bytes(4, "little") + packed
    profile = reread(GOOD + later + pack(BlockKind.END, b""))
    assert not profile.summary.notes


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a recording of kwalk"),
        (b"PERFILE2" * 10, "not a recording of kwalk"),
        (MAGIC[:-1] + b"\x07", "version 7 of the format"),
        (MAGIC, "before anything was recorded"),
    ],
)
def test_file_that_is_no_recording_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(BrokenRecording, match=text):
        read(io.BytesIO(data), "x.rec")


def test_everything_in_a_summary_comes_back() -> None:
    wanted = summary([Count(A, 5)], recursion=1)
    wanted.notes.append("a note")
    wanted.ledger.uncounted.append("misses")
    wanted.tree = TreeUse(1, 2, 3)
    wanted.sampling = Sampling(0.02, 0.01, 40.5)
    wanted.unit = "samples"
    wanted.seconds = 0.75
    wanted.unseen = "the kernel did not run it"
    wanted.verify = Verify(1, 9, 1, 2, {"push": 3}, [Difference(Stack((1, 2)), Stack((1, 3)))])
    data = bytearray()
    RecordingWriter(data.extend, {}).end([Count(A, 5)], 1.0, wanted)
    found = reread(bytes(data)).summary
    assert found.verify
    assert [d.kernel.addresses for d in found.verify.differences] == [(1, 3)]
    found.verify.differences = wanted.verify.differences
    assert found == wanted


def test_unchanged_counts_have_rows_only_if_scaled() -> None:
    exact = reread(written([[Count(A, 5)], [Count(A, 5), Count(B, 1)]]))
    assert len(exact.timeline) == 2
    scaled = reread(written([[Count(A, 5, None, 10.0)], [Count(A, 5, None, 20.0)]]))
    assert [(count.count, count.scaled) for count in scaled] == [(5, 20.0)]
    assert list(scaled.timeline.numbers) == [5, 0]


def test_name_that_is_no_utf8_is_replaced() -> None:
    name = b"a\xffb".decode(errors="surrogateescape")
    (count,) = reread(written([[Count(A, 5, Group("comm", 0, name))]]))
    assert count.group == Group("comm", 0, "a?b")


def test_hits_behind_the_counts_are_no_negative_loss() -> None:
    data = bytearray()
    behind = summary([Count(A, 5)])
    behind.ledger.hits -= 3
    RecordingWriter(data.extend, {}).tick([Count(A, 5)], 1.0, behind)
    found = reread(bytes(data)).summary
    assert (found.ledger.lost, found.ledger.hits, found.ledger.balance) == ({}, 5, 0)
    assert UNMATCHED not in found.notes  # as while calls come


@pytest.mark.parametrize("scaled", [None, 0.0])
def test_keys_without_a_count_are_no_stacks(scaled: float | None) -> None:
    ticks = [[Count(A, 0, None, scaled), Count(B, 0, None, scaled)], [Count(B, 3, None, scaled)]]
    profile = reread(written(ticks))
    assert [(count.count, count.stack.frames) for count in profile] == [(3, B.frames)]
    assert [row for row in profile.timeline.rows() if row[2]] == [(1, 0, 3)]
    assert set(profile.timeline.counts) == {0}


def test_keys_that_are_the_same_are_added_up() -> None:
    """Of whatever made them two: the keys, the nodes, the frames or the groups."""
    frames = b'[["ip_rcv",0,"",1],["a",16,"",2],["a",16,"",2]]'
    nodes = array("I", [0, 1, 1, 1]), array("I", [0, 1, 2, 1])
    keys = array("I", [2, 3, 4, 2, 2]), array("I", [0, 0, 0, 0, 1])
    groups = array("I", [1, 1, 2, 1, 1])
    rows = array("I", [0, 1, 2, 3, 4]), array("q", [1, 2, 4, 8, 16])
    calls = array("d", [1.5, 2.0, 4.0, 8.0, 16.0])
    found = summary([Count(A, 31)])
    profile = reread(
        MAGIC
        + pack(BlockKind.FRAMES, frames)
        + pack(BlockKind.NODES, codec.pack_columns(*nodes))
        + pack(BlockKind.GROUPS, b'[["cpu",1,""],["cpu",1,""]]')
        + pack(BlockKind.KEYS, codec.pack_columns(*keys, groups))
        + pack(BlockKind.TICK, codec.SECONDS.pack(1) + codec.pack_columns(*rows, calls))
        + pack(
            BlockKind.TICK,
            codec.SECONDS.pack(2) + codec.pack_columns(rows[0][:1], rows[1][:1], calls[:1]),
        )
        + pack(BlockKind.LEDGER, codec.to_json(codec.summary_data(found)))
        + pack(BlockKind.END, b"")
    )
    assert [(c.count, c.calls, c.stack.truncated) for c in profile] == [
        (16, 15.5, False),
        (16, 16.0, True),
    ]
    numbers: Counter[tuple[int, int]] = Counter()
    for interval, index, number in profile.timeline.rows():
        numbers[interval, index] += number
    assert numbers == {(0, 0): 15, (1, 0): 1, (0, 1): 16}


def million() -> bytes:
    """20,000 stacks of 20 frames, all of them counted in each of 50 seconds."""
    groups = [Group("pid", number, f"task{number}") for number in range(10)]
    names = ["ip_rcv", *(f"function_{number}" for number in range(400))]
    dice = random.Random(1)
    found = [
        stack("ip_rcv", *(names[dice.randrange(1, 400)] for _ in range(4)), *names[1:16])
        for _ in range(20_000)
    ]
    data = bytearray()
    writer = RecordingWriter(data.extend, dict(FACTS))
    for second in range(1, 51):
        counts = [Count(s, second * 3, groups[i % 10]) for i, s in enumerate(found)]
        writer.tick(counts, float(second), summary(counts))
    writer.end(counts, 51.0, summary(counts))
    return bytes(data)


def test_million_rows_are_read() -> None:
    profile: Profile = reread(million())
    assert len(profile.timeline) == 1_000_000
    assert profile.calls == 20_000 * 150
    assert len(profile) == 20_000


def test_recording_of_an_empty_tick_can_be_read() -> None:
    data = bytearray()
    RecordingWriter(data.extend, dict(FACTS)).tick([], 0.0, summary([]))
    profile = reread(bytes(data))
    assert (profile.counts, profile.seconds, len(profile.timeline)) == ([], 0.0, 0)
    assert "it was not ended" in profile.summary.notes[-1]
