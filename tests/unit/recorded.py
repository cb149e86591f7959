# SPDX-License-Identifier: MIT
"""Profiles for tests of recordings and reports."""

from __future__ import annotations

import io
from collections.abc import Sequence

from hypothesis import strategies as st

from kwalk.api.profile import Profile
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording.reader import read
from kwalk.recording.writer import RecordingWriter

BASE = 0xFFFFFFFF81000000
FACTS = {"kwalk": "0.1.0", "command": ["kwalk", "record", "ip_rcv"], "text": BASE, "cpus": 2}


def frame(name: str, offset: int = 0x10, module: str = "") -> Frame:
    """A frame whose address follows from its name."""
    return Frame(name, offset, module, BASE + sum(name.encode()) * 0x100 + offset)


def stack(*names: str, truncated: bool = False, fallback: bool = False) -> Stack:
    """A stack of these functions, innermost first; ``name@module`` is of a module."""
    frames = []
    for index, name in enumerate(names):
        function, _, module = name.partition("@")
        frames.append(frame(function, 0x10 * bool(index), module))
    return Stack(tuple(f.address for f in frames), truncated, fallback, tuple(frames))


def summary(counts: Sequence[Count], **lost: int) -> Summary:
    """A summary whose ledger closes."""
    ledger = Ledger()
    for count in counts:
        ledger.record(count.stack, count.count)
    ledger.hits = ledger.recorded + sum(lost.values())
    for cause, number in lost.items():
        ledger.lose(cause, number)
    return Summary("ip_rcv", "manual", "fentry", "6.12.107", ledger)


def profile(*counts: Count, **lost: int) -> Profile:
    """A profile of these counts, without a timeline."""
    rows = sorted(counts, key=lambda count: count.calls)
    return Profile(rows, summary(rows, **lost), facts=dict(FACTS))


def written(ticks: Sequence[Sequence[Count]], end: bool = True) -> bytes:
    """A recording of counts as they were after each second."""
    data = bytearray()
    writer = RecordingWriter(data.extend, dict(FACTS))
    for second, counts in enumerate(ticks, 1):
        tick = writer.end if end and second == len(ticks) else writer.tick
        tick(counts, float(second), summary(counts, recursion=1))
    return bytes(data)


def reread(data: bytes) -> Profile:
    """What a recording of these bytes holds."""
    return Profile.of(read(io.BytesIO(data), "test.rec"))


NAMES = st.sampled_from(
    [
        *(
            "ip_rcv",
            "a",
            "b.cold",
            "",
            "c d",
            "e;f",
            "ovl_open",
            "g\nh",
            "i\r\nj",
            "k\N{LINE SEPARATOR}",
        ),
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ]
)
FRAMES = st.builds(
    Frame, NAMES, st.integers(0, 1 << 20), st.sampled_from(["", "overlay", "bpf"]),
    st.integers(0, (1 << 64) - 1), st.just(""), st.just(False),
)  # fmt: skip
GROUPS = (
    st.none()
    | st.builds(
        Group, st.sampled_from(["pid", "comm", "cpu", "cgroup"]), st.integers(0, 1 << 62), NAMES
    )
    | st.builds(Group, st.just("pid"), st.none(), NAMES)
)


@st.composite
def stacks(draw: st.DrawFn, least: int = 1, equal: int = 0) -> list[Stack]:
    """Stacks, some with the same beginning.

    :param least: Frames that each has.
    :param equal: So many, at most, are equal to another one.
    """
    paths = st.lists(FRAMES, min_size=least, max_size=6).map(tuple)
    kinds = st.tuples(paths, st.booleans(), st.booleans())
    rows = draw(st.lists(kinds, min_size=1, max_size=8, unique=True))
    rows += draw(st.lists(st.sampled_from(rows), max_size=equal))
    return [Stack(tuple(f.address for f in path), cut, fell, path) for path, cut, fell in rows]


@st.composite
def growing(draw: st.DrawFn, least: int = 1, odd: bool = False) -> list[list[Count]]:
    """Counts as they are after each second: they never get fewer.

    Where calls were left alone, each stack stands for its own number of them, whole or not.

    :param least: Frames that each stack has.
    :param odd: As a reader has to expect it: equal stacks are several, counts may be 0.
    """
    found = draw(stacks(least, 2 * odd))
    keys = [(stack, draw(GROUPS)) for stack in found]
    scaled, zeros = draw(st.booleans()), draw(st.booleans()) and odd
    scales = [draw(st.sampled_from([1.5, 1.0, 1.4, 4 / 3, 1e6])) for _ in keys]
    sums = [0] * len(keys)
    ticks = []
    for _ in range(draw(st.integers(1, 4))):
        for index in range(len(keys)):
            sums[index] += draw(st.integers(0, 1 << 40) | st.just(0))
        rows = [
            Count(key[0], number, key[1], number * scale if scaled else None)
            for key, number, scale in zip(keys, sums, scales, strict=True)
            if number or zeros
        ]
        ticks.append(rows)
    return ticks


def profiles() -> st.SearchStrategy[Profile]:
    """Profiles as they are read from recordings, with their timelines."""
    return growing(odd=True).map(lambda ticks: reread(written(ticks)))
