# SPDX-License-Identifier: MIT
"""What a user reads of each event: names, text, JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.profile import Event, Frame, Ledger, Stack, Summary
from kwalk.report.stream import JsonLines, Names, Text
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


def event(stack: Stack, comm: str = "redis-server", time_ns: int = 5_000_123_999) -> Event:
    return Event(time_ns=time_ns, cpu=3, tgid=100, pid=101, comm=comm, stack=stack)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Booted at 12:00:00 UTC, and 7 seconds ago."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time_ns", lambda: 43_207 * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 7 * 10**9)
    yield
    monkeypatch.undo()
    time.tzset()


def test_frames_are_named_by_the_call_not_by_what_follows_it() -> None:
    assert Symbolizer(SYMBOLS).frames(STACK) == [
        Frame("ip_rcv", 0, "", FUNC),
        Frame("do_exit", 0x100, "", AFTER_EXIT),
        Frame("dummy_xmit", 0x1F, "dummy", MODULE),
        Frame("", 0, "", UNKNOWN),
    ]


def test_the_functions_entry_can_also_be_where_a_call_before_it_returns_to() -> None:
    frames = Symbolizer(SYMBOLS).frames(Stack((AFTER_EXIT, AFTER_EXIT)))
    assert [frame.name for frame in frames] == ["net_rx_action", "do_exit"]


def test_text_is_a_block_of_frames_under_who_and_when() -> None:
    report = Text(Symbolizer(SYMBOLS))
    assert report.event(event(STACK)) == (
        "12:00:05.000123  cpu 3  pid 100  tid 101  redis-server\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "    ffffffff81000200  do_exit+0x100\n"
        "    ffffffffc000001f  dummy_xmit+0x1f [dummy]\n"
        "    0000000000001234  0x1234\n"
        "    ... (truncated)\n"
        "\n"
    )
    assert report.event(event(PLAIN, time_ns=6_999_999_000)) == (
        "12:00:06.999999  cpu 3  pid 100  tid 101  redis-server\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "\n"
    )


def test_text_without_addresses_still_shows_those_that_have_no_name() -> None:
    text = Text(Symbolizer(SYMBOLS), addresses=False).event(event(STACK))
    assert text.splitlines()[1:] == [
        "    ip_rcv+0x0",
        "    do_exit+0x100",
        "    dummy_xmit+0x1f [dummy]",
        "    0x1234",
        "    ... (truncated)",
        "",
    ]


def test_names_are_one_a_line_with_an_empty_line_between_events() -> None:
    report = Names(Symbolizer(SYMBOLS))
    assert report.event(event(STACK)) == "ip_rcv\ndo_exit\ndummy_xmit\n0x1234\n\n"
    assert report.event(event(PLAIN)) == "ip_rcv\n\n"


@pytest.mark.parametrize("addresses", [True, False])
def test_json_is_one_object_a_line(addresses: bool) -> None:
    line = JsonLines(Symbolizer(SYMBOLS), addresses).event(event(STACK, 'a"\n\x1b\N{SNOWMAN}'))
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


def test_every_report_tells_equal_looking_stacks_apart_by_their_marks() -> None:
    symbols = Symbolizer(SYMBOLS)
    cut, fallback = Stack((FUNC,), truncated=True), Stack((FUNC,), fallback=True)
    text, lines = Text(symbols), JsonLines(symbols)
    assert "truncated" not in text.event(event(PLAIN))
    assert "truncated" in text.event(event(cut))
    marks = [json.loads(lines.event(event(stack))) for stack in (PLAIN, cut, fallback)]
    assert [mark["truncated"] for mark in marks] == [False, True, False]
    assert [mark["fallback"] for mark in marks] == [False, False, True]


def test_only_json_ends_with_the_summary_on_stdout() -> None:
    summary = Summary("ip_rcv", "manual", "fentry", "6.12", Ledger(hits=1, recorded=1))
    symbols = Symbolizer(SYMBOLS)
    assert Text(symbols).end(summary) == Names(symbols).end(summary) == ""
    line = JsonLines(symbols).end(summary)
    assert line.count("\n") == 1
    assert json.loads(line)["schema"] == "kwalk.stream/1"
