# SPDX-License-Identifier: MIT
"""Profiles for tests of recordings and reports."""

from __future__ import annotations

import io

from hypothesis import strategies as st

from kwalk.ledger import Ledger, Summary
from kwalk.profile import Profile
from kwalk.recording.reader import read
from kwalk.recording.writer import Writer
from kwalk.stack import Count, Frame, Group, Stack

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


def summary(counts: list[Count], **lost: int) -> Summary:
    """A summary whose ledger closes."""
    ledger = Ledger()
    for count in counts:
        ledger.record(count.stack, count.count)
    ledger.hits = ledger.recorded + sum(lost.values())
    ledger.lost = dict(lost)
    return Summary("ip_rcv", "manual", "fentry", "6.12.107", ledger)


def profile(*counts: Count, **lost: int) -> Profile:
    """A profile of these counts, without a timeline."""
    rows = sorted(counts, key=lambda count: count.calls)
    return Profile(rows, summary(rows, **lost), facts=dict(FACTS))


def written(ticks: list[list[Count]], end: bool = True) -> bytes:
    """A recording of counts as they were after each second."""
    data = bytearray()
    writer = Writer(data.extend, dict(FACTS))
    for second, counts in enumerate(ticks, 1):
        tick = writer.end if end and second == len(ticks) else writer.tick
        tick(counts, float(second), summary(counts, recursion=1))
    return bytes(data)


def reread(data: bytes) -> Profile:
    """What a recording of these bytes holds."""
    return read(io.BytesIO(data), "test.rec")


NAMES = st.sampled_from(
    ["ip_rcv", "a", "b.cold", "", "c d", "e;f", "ovl_open", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
FRAMES = st.builds(
    Frame, NAMES, st.integers(0, 1 << 20), st.sampled_from(["", "overlay", "bpf"]),
    st.integers(0, (1 << 64) - 1), st.just(""), st.just(False),
)  # fmt: skip
PATHS = st.lists(FRAMES, min_size=1, max_size=6).map(tuple)
GROUPS = st.none() | st.builds(
    Group, st.sampled_from(["pid", "comm", "cpu", "cgroup"]), st.integers(0, 1 << 62), NAMES
)


@st.composite
def stacks(draw: st.DrawFn) -> list[Stack]:
    """Distinct stacks, some with the same beginning."""
    rows = draw(
        st.lists(
            st.tuples(PATHS, st.booleans(), st.booleans()), min_size=1, max_size=8, unique=True
        )
    )
    return [Stack(tuple(f.address for f in path), cut, fell, path) for path, cut, fell in rows]


@st.composite
def growing(draw: st.DrawFn) -> list[list[Count]]:
    """Counts as they are after each second: they never get fewer."""
    keys = [(found, draw(GROUPS)) for found in draw(stacks())]
    scaled = draw(st.booleans())
    sums = [0] * len(keys)
    ticks = []
    for _ in range(draw(st.integers(1, 4))):
        for index in range(len(keys)):
            sums[index] += draw(st.integers(0, 1 << 40) | st.just(0))
        rows = [
            Count(key[0], number, key[1], number * 1.5 if scaled else None)
            for key, number in zip(keys, sums, strict=True)
            if number
        ]
        ticks.append(rows)
    return ticks


def profiles() -> st.SearchStrategy[Profile]:
    """Profiles as they are read from recordings, with their timelines."""
    return growing().map(lambda ticks: reread(written(ticks)))
