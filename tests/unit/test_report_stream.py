# SPDX-License-Identifier: MIT
"""What a user reads of each event: names, text, JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.decode.records import Calls
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.event import Batch, Call, Event, Who
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Frame, Stack
from kwalk.report import stream
from kwalk.report.stream import JsonLines, NamesStream, StreamReport, TextStream
from kwalk.symbolize.symbolizer import Symbolizer

# A call may be the last instruction of a function: the return address then is the next one's.
SYMBOLS = Kallsyms(
    b"ffffffff81000000 T ip_rcv\n"
    b"ffffffff81000100 T do_exit\n"
    b"ffffffff81000200 T net_rx_action\n"
    b"ffffffffc0000000 t dummy_xmit\t[dummy]\n"
    b"ffffffffc0001000 t bpf_prog_6deef7357e7b4530\t[bpf]\n"
)
FUNC, AFTER_EXIT, MODULE, UNKNOWN = (
    0xFFFFFFFF81000000,
    0xFFFFFFFF81000200,
    0xFFFFFFFFC000001F,
    0x1234,
)
STACK = Stack((FUNC, AFTER_EXIT, MODULE, UNKNOWN), truncated=True)
PLAIN = Stack((FUNC,))


def clock(time_ns: int) -> bytes:
    """The time of day of an event, of a machine that was booted at noon."""
    seconds, us = divmod(time_ns // 1000, 10**6)
    return time.strftime("%H:%M:%S", time.gmtime(43_200 + seconds)).encode() + b".%06d " % us


def batch_of(events: Sequence[tuple[int, Who, Stack]]) -> Batch:
    """A batch, its time of day as the BPF program makes it."""
    calls = Calls()
    return Batch(
        [calls.call(stack, who) for _, who, stack in events],
        [at for at, _, _ in events],
        [clock(at) for at, _, _ in events],
    )


def event(stack: Stack, comm: str = "redis-server", time_ns: int = 5_000_123_999) -> Batch:
    return batch_of([(time_ns, Who(3, 100, 101, comm), stack)])


def text_of(report: StreamReport, batch: Batch) -> str:
    return b"".join(report.pieces(batch)).decode()


def test_frames_are_named_by_the_call_not_by_what_follows_it() -> None:
    assert Symbolizer(SYMBOLS).frames(STACK) == [
        Frame("ip_rcv", 0, "", FUNC),
        Frame("do_exit", 0x100, "", AFTER_EXIT),
        Frame("dummy_xmit", 0x1F, "dummy", MODULE),
        Frame("", 0, "", UNKNOWN),
    ]


def test_entry_address_is_named_as_entry_or_as_return_address() -> None:
    frames = Symbolizer(SYMBOLS).frames(Stack((AFTER_EXIT, AFTER_EXIT)))
    assert [frame.name for frame in frames] == ["net_rx_action", "do_exit"]


def test_text_is_a_block_of_frames_under_who_and_when() -> None:
    report = TextStream(Symbolizer(SYMBOLS), addresses=True)
    assert text_of(report, event(STACK)) == (
        "12:00:05.000123  cpu 3  pid 100  tid 101  redis-server\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "    ffffffff81000200  do_exit+0x100\n"
        "    ffffffffc000001f  dummy_xmit+0x1f [dummy]\n"
        "    0000000000001234  0x1234\n"
        "    ... (truncated)\n"
        "\n"
    )
    assert text_of(report, event(PLAIN, time_ns=6_999_999_000)) == (
        "12:00:06.999999  cpu 3  pid 100  tid 101  redis-server\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "\n"
    )


def test_text_without_addresses_still_shows_those_that_have_no_name() -> None:
    text = text_of(TextStream(Symbolizer(SYMBOLS)), event(STACK))
    assert text.splitlines()[1:] == [
        "    ip_rcv+0x0",
        "    do_exit+0x100",
        "    dummy_xmit+0x1f [dummy]",
        "    0x1234",
        "    ... (truncated)",
        "",
    ]


def test_names_are_one_a_line_with_an_empty_line_between_events() -> None:
    report = NamesStream(Symbolizer(SYMBOLS))
    assert text_of(report, event(STACK)) == "ip_rcv\ndo_exit\ndummy_xmit\n0x1234\n\n"
    assert text_of(report, event(PLAIN)) == "ip_rcv\n\n"


@pytest.mark.parametrize("addresses", [True, False])
def test_json_is_one_object_a_line(addresses: bool) -> None:
    line = text_of(JsonLines(Symbolizer(SYMBOLS), addresses), event(STACK, 'a"\n\x1b\N{SNOWMAN}'))
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    frames = [
        {"name": "ip_rcv", "offset": 0, "module": "", "addr": "0xffffffff81000000"},
        {"name": "do_exit", "offset": 0x100, "module": "", "addr": "0xffffffff81000200"},
        {"name": "dummy_xmit", "offset": 0x1F, "module": "dummy", "addr": "0xffffffffc000001f"},
        {"name": "", "offset": 0, "module": "", "addr": "0x1234"},
    ]
    if not addresses:
        for frame in frames:
            del frame["addr"]
    assert json.loads(line) == {
        "time_ns": 5_000_123_999,
        "cpu": 3,
        "pid": 100,
        "tid": 101,
        "comm": 'a"\n\x1b\N{SNOWMAN}',
        "frames": frames,
        "truncated": True,
        "fallback": False,
    }


def test_reports_mark_truncated_and_fallback_stacks() -> None:
    symbols = Symbolizer(SYMBOLS)
    cut, fallback = Stack((FUNC,), truncated=True), Stack((FUNC,), fallback=True)
    text, lines = TextStream(symbols), JsonLines(symbols)
    assert "truncated" not in text_of(text, event(PLAIN))
    assert "truncated" in text_of(text, event(cut))
    marks = [json.loads(text_of(lines, event(stack))) for stack in (PLAIN, cut, fallback)]
    assert [mark["truncated"] for mark in marks] == [False, True, False]
    assert [mark["fallback"] for mark in marks] == [False, False, True]


def one_by_one(report: StreamReport, batch: Batch) -> str:
    return "".join(text_of(report, batch.part(at, at + 1)) for at in range(len(batch)))


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9 * 10**9),
        st.sampled_from([Who(0, 7, 7, "redis"), Who(1, 7, 8, "redis"), Who(0, 7, 7, 'a"\\')]),
        st.sampled_from([STACK, PLAIN, Stack((FUNC,), fallback=True), Stack((FUNC,), True)]),
    ),
    max_size=9,
)


@given(EVENTS, st.integers(0, 9))
def test_batch_is_its_events_one_behind_the_other(
    events: list[tuple[int, Who, Stack]], number: int
) -> None:
    symbols = Symbolizer(SYMBOLS)
    batch = batch_of(events)
    assert len(batch) == len(events)
    for report in (
        TextStream(symbols),
        NamesStream(symbols),
        JsonLines(symbols),
        JsonLines(symbols, False),
    ):
        text = text_of(report, batch)
        assert text == one_by_one(report, batch)
        assert text.startswith(text_of(report, batch.part(0, number)))
    lines = [json.loads(line) for line in text_of(JsonLines(symbols), batch).splitlines()]
    assert [(line["time_ns"], line["cpu"], line["tid"], line["comm"]) for line in lines] == [
        (at, who.cpu, who.pid, who.comm) for at, who, _ in events
    ]
    clocks = re.findall(
        r"^\d\d:\d\d:\d\d\.\d{6}", text_of(TextStream(symbols), batch), re.MULTILINE
    )
    assert clocks == [f"12:00:{at // 1000 / 10**6:09.6f}" for at, _, _ in events]
    shown = batch.part(0, number)
    assert len(shown) == min(number, len(events))
    assert list(shown.events()) == [Event(*event) for event in events[:number]]


def test_brief_batch_has_names_only() -> None:
    batch = Batch([Call(PLAIN), Call(PLAIN)])
    assert text_of(NamesStream(Symbolizer(SYMBOLS)), batch) == "ip_rcv\n\n" * 2
    assert len(batch.part(1)) == 1
    assert not list(batch.events())


def test_text_cache_is_bounded_while_processes_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "MOST_KEPT", 3)
    report = TextStream(Symbolizer(SYMBOLS))
    for number in range(20):
        text = text_of(report, batch_of([(number, Who(0, number, number, "sh"), PLAIN)]))
        assert f"  pid {number}  " in text
    assert len(report._calls._made) <= 3


def test_json_alone_ends_with_the_summary_on_stdout() -> None:
    summary = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger(hits=1, recorded=1))
    symbols = Symbolizer(SYMBOLS)
    assert TextStream(symbols).end(summary) == NamesStream(symbols).end(summary) == ""
    line = JsonLines(symbols).end(summary)
    assert line.count("\n") == 1
    assert json.loads(line)["schema"] == "kwalk.stream/2"
