# SPDX-License-Identifier: MIT
"""What a user reads of counts: blocks of text, JSON, folded lines for flame graphs."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.api.profile import Profile
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.ledger import Ledger, Summary, TreeUse
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.report.count import CountReport, CountText, Folded, Json
from kwalk.symbolize.symbolizer import Symbolizer

SYMBOLS = Symbolizer(
    Kallsyms(
        b"ffffffff81000000 T ip_rcv\n"
        b"ffffffff81000100 T a\n"
        b"ffffffff81000200 T b\n"
        b"ffffffffc0000000 t dummy_xmit\t[dummy]\n"
    )
)
FUNC, A, B, MODULE, UNKNOWN = (
    0xFFFFFFFF81000000,
    0xFFFFFFFF81000110,
    0xFFFFFFFF81000220,
    0xFFFFFFFFC0000030,
    0x1234,
)


def named(addresses: tuple[int, ...], truncated: bool = False, fallback: bool = False) -> Stack:
    stack = Stack(addresses, truncated, fallback)
    stack.frames = tuple(SYMBOLS.frames(stack))
    return stack


NOON = datetime(2026, 3, 4, 12, 0, 30, 250_000).timestamp()
REDIS, NGINX = Group("pid", 7, "redis"), Group("pid", 8, "a;b c")
SUMMARY = Summary("ip_rcv", "manual", "fentry", "6.12.107", Ledger(hits=6, recorded=6))
COUNTS = [
    Count(named((FUNC, MODULE, UNKNOWN)), 1),
    Count(named((FUNC, A), truncated=True, fallback=True), 2),
    Count(named((FUNC, A, B)), 12_345),
]


def end(report: CountReport, counts: list[Count]) -> str:
    return report.end(Profile(counts, SUMMARY))


def test_text_is_a_block_a_stack_and_the_hottest_comes_last() -> None:
    assert end(CountText(True, None), COUNTS) == (
        "    ffffffff81000000  ip_rcv+0x0\n"
        "    ffffffffc0000030  dummy_xmit+0x30 [dummy]\n"
        "    0000000000001234  0x1234\n"
        "  1 call, 0.0 %\n"
        "\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "    ffffffff81000110  a+0x10\n"
        "    ... (truncated)\n"
        "  2 calls, 0.0 %  (by the kernel's unwinder)\n"
        "\n"
        "    ffffffff81000000  ip_rcv+0x0\n"
        "    ffffffff81000110  a+0x10\n"
        "    ffffffff81000220  b+0x20\n"
        "  12,345 calls, 100.0 %\n"
        "\n"
    )


SCALED = [
    Count(named((FUNC, A)), 90, scaled=90.0),  # all of them were taken
    Count(named((FUNC, B)), 7, scaled=700.4),
    Count(named((FUNC, A, B)), 8, scaled=1209.6),
]


def test_text_of_sampled_counts_says_about() -> None:
    text = end(CountText(False, 2), SCALED)
    assert [line for line in text.splitlines() if "calls" in line] == [
        "(1 more stack, 90 calls, left out by --top)",
        "  about 700 calls (7 recorded), 35.0 %",
        "  about 1,210 calls (8 recorded), 60.5 %",
    ]


def test_json_of_sampled_counts_has_both_numbers() -> None:
    data = json.loads(end(Json(False, 1), SCALED))
    assert [(s["count"], s["scaled"]) for s in data["stacks"]] == [(8, 1209.6)]
    assert data["left_out"] == {"stacks": 2, "count": 97, "scaled": 790.4}


def test_folded_lines_of_sampled_counts_are_scaled() -> None:
    lines = end(Folded(None), SCALED).splitlines()
    assert [int(line.split()[-1]) for line in lines] == [90, 700, 1210]


def test_text_without_addresses_still_shows_those_that_have_no_name() -> None:
    text = end(CountText(False, None), COUNTS[:1])
    assert text.splitlines()[:3] == ["    ip_rcv+0x0", "    dummy_xmit+0x30 [dummy]", "    0x1234"]


@pytest.mark.parametrize(
    ("top", "heads", "rest"),
    [
        (1, ["12,345 calls"], "(2 more stacks, 3 calls, left out by --top)"),
        (2, ["2 calls", "12,345 calls"], "(1 more stack, 1 call, left out by --top)"),
        (3, ["1 call", "2 calls", "12,345 calls"], ""),
        (9, ["1 call", "2 calls", "12,345 calls"], ""),
    ],
)
def test_top_option_shows_the_hottest_and_counts_the_rest(
    top: int, heads: list[str], rest: str
) -> None:
    text = end(CountText(True, top), COUNTS)
    assert re.findall(r"^  ([\d,]+ calls?),", text, re.MULTILINE) == heads
    assert text.startswith(f"{rest}\n\n" if rest else "    ")
    assert "12,345 calls, 100.0 %" in text  # of all calls, not of those shown


def test_shares_are_of_all_calls_whatever_is_shown() -> None:
    counts = [Count(named((FUNC,)), 1), Count(named((FUNC, A)), 3)]
    assert "  3 calls, 75.0 %\n" in end(CountText(True, 1), counts)


def test_text_names_the_group() -> None:
    stack = COUNTS[2].stack
    counts = [Count(stack, 1, REDIS), Count(stack, 2, NGINX), Count(stack, 3)]
    heads = [line for line in end(CountText(True, None), counts).splitlines() if "%" in line]
    assert heads == [
        "  1 call, 16.7 %  redis (7)",
        "  2 calls, 33.3 %  a;b c (8)",
        "  3 calls, 50.0 %",
    ]


def test_counts_of_nothing_have_no_share() -> None:
    counts = [Count(named((FUNC,)), 0), Count(named((FUNC, A)), 0)]
    assert end(CountText(True, None), counts).count("  0 calls, 0.0 %\n") == 2
    assert "0 calls in 1.0 s, 0/s" in CountText(True, None).interval(counts, 1.0, NOON)


def test_empty_counts_print_nothing() -> None:
    for report in (CountText(True, None), CountText(True, 3), Folded(None)):
        assert end(report, []) == ""
    assert json.loads(end(Json(True, None), []))["stacks"] == []


def test_interval_head_has_its_length_calls_and_rate() -> None:
    text = CountText(False, 1).interval(COUNTS, 2.04, NOON)
    head, empty, rest, *_ = text.splitlines()
    assert head == "--- 12:00:30: 12,348 calls in 2.0 s, 6,053/s"
    assert empty == ""
    assert rest.startswith("(2 more stacks, 3 calls")
    assert text.endswith("  12,345 calls, 100.0 %\n\n")
    assert CountText(False, 1).interval([], 1.0, NOON) == "--- 12:00:30: 0 calls in 1.0 s, 0/s\n\n"


def test_interval_head_of_sampled_counts_has_the_scaled_rate() -> None:
    head = CountText(False, None).interval(SCALED, 2.0, NOON).splitlines()[0]
    assert head == "--- 12:00:30: about 2,000 calls (105 recorded) in 2.0 s, 1,000/s"


def test_json_is_one_object_a_line_with_the_summary_in_the_last() -> None:
    summary = Summary("ip_rcv", "manual", "fentry", "6.12.107", SUMMARY.ledger, ["a note"])
    summary.tree = TreeUse(2, 240, 1)
    report = Json(True, None)
    line = report.end(Profile([*COUNTS[:2], Count(COUNTS[2].stack, 3, NGINX)], summary))
    assert line.count("\n") == 1
    data = json.loads(line)
    stacks = data.pop("stacks")
    assert data["schema"] == "kwalk.count/2"
    assert data["tree"] == {"used": 2, "size": 240, "full": 1}
    assert data["ledger"]["recorded"] == 6
    assert data["notes"] == ["a note"]
    assert stacks[0] == {
        "count": 1,
        "frames": [
            {"name": "ip_rcv", "offset": 0, "module": "", "addr": "0xffffffff81000000"},
            {"name": "dummy_xmit", "offset": 0x30, "module": "dummy", "addr": "0xffffffffc0000030"},
            {"name": "", "offset": 0, "module": "", "addr": "0x1234"},
        ],
        "truncated": False,
        "fallback": False,
    }
    assert (stacks[1]["truncated"], stacks[1]["fallback"]) == (True, True)
    assert (stacks[2]["count"], stacks[2]["pid"], stacks[2]["comm"]) == (3, 8, "a;b c")


def test_total_after_intervals_has_a_head() -> None:
    report = CountText(False, 1)
    assert "in all" not in end(report, COUNTS)
    report.interval(COUNTS, 1.0, NOON)
    assert end(report, COUNTS).startswith("--- total\n\n")


def test_json_of_an_interval_is_a_line_of_its_own() -> None:
    line = Json(False, 1).interval(COUNTS, 1.0000001, NOON)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    data = json.loads(line)
    assert datetime.fromisoformat(data.pop("ended")).timestamp() == NOON
    assert data == {
        "interval_seconds": 1.0,
        "left_out": {"stacks": len(COUNTS) - 1, "count": 3},
        "stacks": [
            {
                "count": 12_345,
                "frames": [
                    {"name": name, "offset": offset, "module": ""}
                    for name, offset in (("ip_rcv", 0), ("a", 0x10), ("b", 0x20))
                ],
                "truncated": False,
                "fallback": False,
            }
        ],
    }


def test_folded_lines_begin_at_the_root() -> None:
    assert end(Folded(None), COUNTS) == (
        "0x1234;dummy_xmit [dummy];ip_rcv 1\n[truncated];a;ip_rcv 2\nb;a;ip_rcv 12345\n"
    )
    assert Folded(1).interval(COUNTS, 1.0, NOON) == "b;a;ip_rcv 12345\n"


def test_folded_stacks_whose_names_are_the_same_are_one_line() -> None:
    counts = [
        Count(named((FUNC, A)), 1),
        Count(named((FUNC, B)), 2),
        Count(named((FUNC, A + 1)), 4),
        Count(named((FUNC, A), fallback=True), 8),
        Count(named((FUNC, A), truncated=True), 16),
    ]
    lines = end(Folded(None), counts).splitlines()
    assert sorted(lines) == ["[truncated];a;ip_rcv 16", "a;ip_rcv 13", "b;ip_rcv 2"]


def test_folded_processes_are_the_outermost_frame() -> None:
    stack, cut = COUNTS[2].stack, COUNTS[1].stack
    counts = [Count(stack, 1, REDIS), Count(cut, 2, NGINX), Count(stack, 3)]
    assert end(Folded(None), counts) == (
        "redis (7);b;a;ip_rcv 1\na:b c (8);[truncated];a;ip_rcv 2\nb;a;ip_rcv 3\n"
    )


def test_folded_sums_are_those_of_all_calls() -> None:
    """Rounded one by one, a thousand stacks of 1.4 calls would be 400 calls less."""
    counts = [
        Count(Stack((n,), frames=(Frame(f"f{n}", 0, "", n),)), 1, None, 1.4) for n in range(1000)
    ]
    lines = end(Folded(None), counts).splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == 1400
    data = json.loads(end(Json(False, None), counts))
    assert sum(row["scaled"] for row in data["stacks"]) == pytest.approx(1400)


def test_folded_functions_of_several_modules_stay_apart() -> None:
    frames = [Frame("init", 0, module, 1) for module in ("", "a", "b")]
    counts = [Count(Stack((1,), frames=(frame,)), n) for n, frame in enumerate(frames, 1)]
    assert end(Folded(None), counts) == "init 1\ninit [a] 2\ninit [b] 3\n"


@pytest.mark.parametrize("end_of", [";", "\n", "\r", "\x0b", "\x85", "\u2028"])
def test_folded_names_cannot_end_a_frame_or_line(end_of: str) -> None:
    name = f"a{end_of}b"
    stack = Stack((1, 2), frames=(Frame(name, 0, "", 1), Frame("c", 0, name, 2)))
    text = end(Folded(None), [Count(stack, 3, Group("comm", 0, name))])
    instead = "a:b" if end_of == ";" else "a b"
    assert text.splitlines() == [f"{instead};c [{instead}];{instead} 3"]


def test_folded_tasks_without_a_name_are_a_frame_as_well() -> None:
    assert end(Folded(None), [Count(named((FUNC,)), 3, Group("comm", 0, ""))]) == (
        "(no name);ip_rcv 3\n"
    )


STACKS = [
    named((FUNC, *path), truncated, fallback)
    for path in ((), (A,), (A + 1,), (B,), (A, B), (MODULE,), (UNKNOWN, A))
    for truncated in (False, True)
    for fallback in (False, True)
]
KEYS = st.tuples(
    st.sampled_from(STACKS), st.none() | st.sampled_from((REDIS, NGINX, Group("pid", 9, ";1 2")))
)


@given(st.dictionaries(KEYS, st.integers(1, 1 << 50), max_size=20), st.none() | st.integers(1, 9))
def test_every_format_has_all_counts(
    sums: dict[tuple[Stack, Group | None], int], top: int | None
) -> None:
    counts = [Count(stack, number, process) for (stack, process), number in sums.items()]
    counts.sort(key=lambda count: count.count)
    total = sum(sums.values())
    shown = sum(count.count for count in (counts[-top:] if top else counts))

    def numbers(pattern: str, text: str) -> list[int]:
        return [int(n.replace(",", "")) for n in re.findall(pattern, text, re.MULTILINE)]

    for text in (
        end(CountText(True, top), counts),
        CountText(True, top).interval(counts, 1.0, NOON),
    ):
        blocks = numbers(r"^  ([\d,]+) calls?, ", text)
        assert blocks == sorted(blocks)
        assert sum(blocks) == shown
        assert sum(blocks) + sum(numbers(r"^\(\d+ more stacks?, ([\d,]+) calls?", text)) == total
    for text in (
        end(Json(True, top), counts),
        Json(True, top).interval(counts, 1.0, NOON),
    ):
        data = json.loads(text)
        assert sum(stack["count"] for stack in data["stacks"]) == shown
        assert shown + data.get("left_out", {"count": 0})["count"] == total
        assert ("left_out" in data) == (len(data["stacks"]) < len(counts))
    text = end(Folded(top), counts)
    assert Folded(top).interval(counts, 1.0, NOON) == text
    lines = [line.rpartition(" ") for line in text.splitlines()]
    assert sum(int(number) for _, _, number in lines) == shown
    assert len({names for names, _, _ in lines}) == len(lines)
    assert all(names.split(";")[-1] == "ip_rcv" for names, _, _ in lines)
