# SPDX-License-Identifier: MIT
"""Each stack once, then its number: text and JSON."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report_stream import PLAIN, STACK, SYMBOLS, batch_of, clock, text_of

from kwalk.cli.streaming import whole_events
from kwalk.model.event import Batch, Call, CallColumn, Clocks, Who
from kwalk.model.stack import Stack
from kwalk.report import stream_once
from kwalk.report.stream import JsonLines, TextStream
from kwalk.report.stream_once import JsonOnce, TextOnce
from kwalk.symbolize.symbolizer import Symbolizer

REDIS, INIT = Who(3, 100, 101, "redis-server"), Who(0, 1, 1, "init")
STACKS = [STACK, PLAIN, Stack((SYMBOLS.address("ip_rcv"),), truncated=True)]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9 * 10**9),
        st.sampled_from([REDIS, INIT, Who(12, 7, 4194303, "a\N{SNOWMAN}"), Who(1, None, None, "")]),
        st.sampled_from(STACKS),
    ),
    max_size=9,
)
Happened = Sequence[tuple[int, Who, Stack]]


def read_batch(report: TextOnce | JsonOnce, events: Happened) -> Batch:
    """A batch as of the manual method: its texts made with the calls, its clocks in memory."""
    plain = batch_of(events)
    memory = b"".join(struct.pack("<Q16sQ", 0, clock(at), at) for at, _, _ in events)
    texts = [report.call(call) for call in plain.calls]
    calls = CallColumn(plain.calls, range(len(events)))
    return Batch(calls, plain.times, Clocks(memoryview(memory), 32, 8), texts)


def test_stack_is_shown_with_its_first_event_only() -> None:
    events = [(5_000_123_999, REDIS, STACK), (5_000_124_999, INIT, PLAIN)]
    events += [(6_000_000_000, REDIS, PLAIN), (6_000_001_000, REDIS, STACK)]
    text = text_of(TextOnce(Symbolizer(SYMBOLS)), batch_of(events))
    assert text.splitlines() == [
        "12:00:05.000123  cpu   3  pid     100  tid     101  redis-server     stack    1",
        "    ip_rcv+0x0",
        "    do_exit+0x100",
        "    dummy_xmit+0x1f [dummy]",
        "    0x1234",
        "    ... (truncated)",
        "",
        "12:00:05.000124  cpu   0  pid       1  tid       1  init             stack    2",
        "    ip_rcv+0x0",
        "",
        "12:00:06.000000  cpu   3  pid     100  tid     101  redis-server     stack    2",
        "12:00:06.000001  cpu   3  pid     100  tid     101  redis-server     stack    1",
    ]


def test_addresses_are_shown_where_they_were_asked_for() -> None:
    events = batch_of([(0, REDIS, PLAIN)])
    text = text_of(TextOnce(Symbolizer(SYMBOLS), addresses=True), events)
    assert "    ffffffff81000000  ip_rcv+0x0\n" in text
    (line,) = text_of(JsonOnce(Symbolizer(SYMBOLS), addresses=False), events).splitlines()
    assert json.loads(line)["frames"] == [{"name": "ip_rcv", "offset": 0, "module": ""}]


@given(EVENTS, EVENTS, st.booleans())
def test_stacks_put_back_are_the_output_with_each(
    first: Happened, second: Happened, read: bool
) -> None:
    symbols = Symbolizer(SYMBOLS)
    once, each = TextOnce(symbols), TextStream(symbols)
    batches = [read_batch(once, part) if read else batch_of(part) for part in (first, second)]
    text = "".join(text_of(once, batch) for batch in batches)
    stacks: dict[str, str] = {}
    found = []
    for match in re.finditer(r"(\d\d:.*?)  stack +(\d+)\n((?: .*\n)*\n)?", text):
        head, number, frames = match.groups()
        assert (number in stacks) == (frames is None)
        frames = stacks.setdefault(number, frames)
        found.append(re.sub(r" +", " ", head.rstrip()) + "\n" + frames)
    expected = text_of(each, batch_of([*first, *second]))
    blocks = re.findall(r"\d\d:.*\n(?: .*\n)*\n", expected)
    assert found == [
        re.sub(r" +", " ", b.split("\n")[0].rstrip()) + b[b.index("\n") :] for b in blocks
    ]


@given(EVENTS, EVENTS, st.booleans())
def test_json_has_the_members_of_each_and_the_number(
    first: Happened, second: Happened, read: bool
) -> None:
    symbols = Symbolizer(SYMBOLS)
    once, each = JsonOnce(symbols), JsonLines(symbols)
    batches = [read_batch(once, part) if read else batch_of(part) for part in (first, second)]
    text = "".join(text_of(once, batch) for batch in batches)
    stacks: dict[int, dict[str, object]] = {}
    found = []
    for line in map(json.loads, text.splitlines()):
        number = line.pop("stack")
        shown = {
            name: line.pop(name) for name in ("frames", "truncated", "fallback") if name in line
        }
        assert (number in stacks) == (not shown)
        found.append(line | stacks.setdefault(number, shown))
    assert found == [json.loads(x) for x in text_of(each, batch_of([*first, *second])).splitlines()]


def test_lines_of_equal_length_are_one_piece() -> None:
    report = TextOnce(Symbolizer(SYMBOLS))
    events = [(n * 1000, REDIS, PLAIN) for n in range(70)]
    text_of(report, read_batch(report, events[:1]))
    batch = read_batch(report, events)
    (block,) = report.pieces(batch)
    assert len(block) == 70 * 80
    assert [line[:16] for line in block.decode().splitlines()] == [
        f"12:00:00.{n:06} " for n in range(70)
    ]
    assert [whole_events([block], 70, taken) for taken in (0, 79, 80, 5599, 5600)] == [
        0,
        0,
        1,
        69,
        70,
    ]


@pytest.mark.parametrize("read", [False, True])
def test_stack_of_an_event_that_was_lost_is_shown_with_the_next(read: bool) -> None:
    """Its key came, with no room for the hit behind it."""
    report = TextOnce(Symbolizer(SYMBOLS))
    report.call(Call(STACK, REDIS))
    make = (lambda events: read_batch(report, events)) if read else batch_of
    assert "dummy_xmit" not in text_of(report, make([(0, REDIS, PLAIN)]))
    assert "dummy_xmit" in text_of(report, make([(0, INIT, STACK)]))
    assert "dummy_xmit" not in text_of(report, make([(0, REDIS, STACK)]))


def test_number_is_of_one_stack_where_they_come_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_once, "MOST_KEPT", 4)
    report = TextOnce(Symbolizer(SYMBOLS))
    seen: dict[str, str] = {}
    for number in [*range(20), 0, 19]:
        text = text_of(report, batch_of([(0, REDIS, Stack((0x1000 + number,)))]))
        head, frames, _ = text.split("\n", 2)
        assert seen.setdefault(head.split()[-1], frames) == frames
    assert len(report._numbers._numbers) <= 4
