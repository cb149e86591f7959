# SPDX-License-Identifier: MIT
"""What a user reads of a comparison: columns, JSON, a page."""

from __future__ import annotations

import json
from html import unescape

import pytest
from elements import Elements
from paired import COSTS, DIFFERENT, LACKS, LOST, MANUAL, MANUAL_LOST, SAME, comparison
from recorded import stack

from kwalk.model.comparison import Comparison, MethodCost, Pair, Sides
from kwalk.model.stack import Stack
from kwalk.report.compare.json_ import as_data
from kwalk.report.compare.page import as_html
from kwalk.report.compare.text import as_text, verdicts

ALL = comparison({LACKS: 14847, SAME: 10, LOST: 7, DIFFERENT: 5, MANUAL_LOST: 1})
NAMES = [frame.name for frame in MANUAL.frames]


def plain(text: str) -> str:
    """Without line ends, which fall where the width has them."""
    return " ".join(text.split())


def test_text_has_the_stacks_side_by_side_with_the_caller_marked() -> None:
    text = as_text(comparison({LACKS: 7297}, costs=Sides(None, None)), 80)
    assert text == (
        "ip_rcv: helper and manual on the same 7,297 calls\n"
        "Linux 6.12.107-fp, unwinder: frame pointer; both by fentry, in one program, for\n"
        "3.0 s\n"
        "\n"
        "All 7,297 calls: the helper lacks frames that manual has\n"
        "\n"
        "     helper                                  manual\n"
        " ──────────────────────────────────────────────────────────────────────────────\n"
        "     ip_rcv+0x0                              ip_rcv+0x0\n"
        "                                         ->  one_core+0x10\n"
        "     skb+0x10                                skb+0x10\n"
        "     napi_poll+0x10                          napi_poll+0x10\n"
        "     entry_SYSCALL_64+0x10                   entry_SYSCALL_64+0x10\n"
        "\n"
        "     7,297 calls with this stack             and this one\n"
        "\n"
        "     helper                                  manual\n"
        " ──────────────────────────────────────────────────────────────────────────────\n"
        "     7,298 calls                             7,298 calls\n"
        "     = 7,297 stacks + 1 not wanted + 0       = 7,297 stacks + 1 not wanted + 0\n"
        "     lost                                    lost\n"
        "       not wanted: 1 filtered: refused         not wanted: 1 filtered: refused\n"
        "     by the filters of tasks, cgroups,       by the filters of tasks, cgroups,\n"
        "     namespaces or CPUs                      namespaces or CPUs\n"
        "\n"
        "-> The helper misses one_core in 7,297 calls.\n"
        "At a function's first instruction its frame is not set up yet, and frame\n"
        "pointers lead past the function that called it.\n"
        "note: a note\n"
    )


@pytest.mark.parametrize("width", [70, 100, 200])
def test_text_has_the_hottest_pair_of_each_kind_and_the_losses(width: int) -> None:
    text = as_text(ALL, width)
    assert all(len(line) <= width for line in text.splitlines())
    text = plain(text)
    for kind in (
        "14,847 of 14,870 calls (99.8 %): the helper lacks frames that manual has",
        "10 of 14,870 calls (under 0.1 %): both have the same stack, frame by frame",
        "7 of 14,870 calls (under 0.1 %): the helper has no stack",
        "5 of 14,870 calls (under 0.1 %): each has frames that the other lacks",
        "1 of 14,870 calls (under 0.1 %): manual has no stack",
    ):
        assert kind in text
    assert "(lost: eexist)" in text
    assert "7 calls lost with this stack" in text
    assert "1 call with this stack lost" in text
    assert "lost: 7 eexist: another stack" in as_text(ALL, 200)
    assert "7,945 instructions each (by kprobe)" in as_text(ALL, 200)
    assert "-> The helper misses one_core in 14,847 calls, x in 5 calls." in text
    assert "-> Manual misses y in 5 calls." in text
    assert "costs 5.6 times as much as by manual" in text
    assert "in a run of its own (helper on 10,410 calls, manual on 10,411 calls)" in text


def test_top_shows_more_and_says_what_it_leaves_out() -> None:
    pairs = {
        Pair(found, found): number for number in (3, 2, 1) if (found := stack("f", str(number)))
    }
    text = as_text(comparison(pairs), 100)
    assert "3 calls with this stack" in text
    assert "2 calls with this stack" not in text
    assert "(2 more pairs of stacks like that, 3 calls, left out by --top)" in text
    assert "(1 more pair of stacks like that, 1 call, left out by --top)" in as_text(
        comparison(pairs), 100, top=2
    )
    assert "left out" not in as_text(comparison(pairs), 100, top=3)


def test_verdict_says_that_both_methods_agree() -> None:
    assert verdicts(comparison({SAME: 10}, "orc")) == [
        "Both methods agree on all 10 calls: the kernel unwinds by ORC, and so does manual.",
        "A stack by the helper costs 5.6 times as much as by manual.",
    ]
    assert "unwinder: ORC;" in as_text(comparison({SAME: 10}, "orc"), 100)
    assert verdicts(comparison({SAME: 1}))[0] == "Both methods agree on the only call."


def test_verdict_explains_only_a_missing_direct_caller() -> None:
    deep = Pair(stack("f", "a"), stack("f", "a", "b"))
    why = "At a function's first instruction"
    assert any(line.startswith(why) for line in verdicts(comparison({LACKS: 1, deep: 1})))
    assert not any(line.startswith(why) for line in verdicts(comparison({deep: 1})))
    assert not any(line.startswith(why) for line in verdicts(comparison({LACKS: 1}, "orc")))


def test_verdict_names_the_first_of_many_functions() -> None:
    pairs = {Pair(stack("f"), stack("f", f"a{n}")): 10 - n for n in range(7)}
    assert verdicts(comparison(pairs))[0] == (
        "-> The helper misses a0 in 10 calls, a1 in 9 calls, a2 in 8 calls, a3 in 7 calls, "
        "a4 in 6 calls, and 2 more functions."
    )


def test_costs_are_in_what_the_clock_counts() -> None:
    slow = Sides[MethodCost | None](MethodCost(100.0, 5, "kprobe"), MethodCost(150.0, 6, "fentry"))
    text = as_text(comparison({SAME: 1}, costs=slow, clock="time"), 200)
    assert "100 ns each (by kprobe)" in text
    assert "A stack by manual costs 1.5 times as much as by the helper." in text
    half = as_text(comparison({SAME: 1}, costs=Sides(None, COSTS.manual)), 200)
    assert "1,417 instructions each (by fentry)" in half
    assert "times" not in half
    assert "in a run of its own (manual on 10,411 calls)" in half


def test_comparison_without_events_says_so() -> None:
    for text in (as_text(comparison({}), 100), as_html(comparison({}))):
        assert "Neither method recorded a stack: there is nothing to compare." in text


def test_marks_of_stacks_are_shown() -> None:
    part = Stack(MANUAL.addresses[:2], True, True, MANUAL.frames[:2])
    found = comparison({Pair(MANUAL, part): 3})
    found.ledgers.manual.hits += 2
    for text in (as_text(found, 200), as_html(found)):
        assert "... (truncated), (by the kernel's unwinder)" in unescape(text)
        assert "a bug of kwalk" in text
    assert "truncated: 3" in as_text(found, 200)
    assert "unexplained: 2" in as_text(found, 200)


def test_color_is_for_terminals() -> None:
    assert "\x1b[1m" in as_text(ALL, 100, color=True)
    assert "\x1b" not in as_text(ALL, 100)


def test_json_has_all_of_it() -> None:
    data = json.loads(json.dumps(as_data(ALL)))
    assert data["schema"] == "kwalk.compare/2"
    assert (data["function"], data["unwinder"], data["attach"]) == (
        "ip_rcv", "frame pointer", "fentry",
    )  # fmt: skip
    assert data["events"] == 14870 == sum(pair["count"] for pair in data["pairs"])
    assert data["kinds"] == {
        "helper_lacks": 14847, "same": 10, "helper_lost": 7, "different": 5, "manual_lost": 1,
    }  # fmt: skip
    helper, manual = data["sides"]["helper"], data["sides"]["manual"]
    for side in (helper, manual):
        ledger = side["ledger"]
        left = sum(ledger["lost"].values()) + sum(ledger["not_wanted"].values())
        assert ledger["hits"] == ledger["recorded"] + left
        assert ledger["balance"] == 0
    assert helper["ledger"]["not_wanted"] == {"filtered": 1}
    assert helper["ledger"]["lost"] == {"eexist": 7}
    assert helper["misses"] == {"one_core": 14847, "x": 5}
    assert helper["cost"] == {
        "each": 7945.4, "events": 10410, "attach": "kprobe", "unit": "instructions",
    }  # fmt: skip
    first, _, lost, *_ = data["pairs"]
    assert [f["name"] for f in first["manual"]["frames"]] == NAMES
    assert first["only"] == {"helper": [], "manual": [1]}
    assert (lost["kind"], lost["cause"], lost["helper"]) == ("helper_lost", "eexist", None)
    assert "left_out" not in data
    assert data["notes"] == ["a note"]


def test_json_says_what_top_leaves_out() -> None:
    pairs = {
        Pair(found, found): number for number in (3, 2, 1) if (found := stack("f", str(number)))
    }
    data = as_data(comparison(pairs, costs=Sides(None, None)), top=1)
    assert data["left_out"] == {"pairs": 2, "count": 3}
    assert [pair["count"] for pair in data["pairs"]] == [3]
    assert data["sides"]["helper"]["cost"] is None


def test_page_marks_frames_that_one_side_lacks() -> None:
    text = as_html(ALL)
    page = Elements(text)
    of_pair = page.cells[page.cells.index(("head h", "helper")) :][:12]
    assert of_pair[4:6] == [("h gap", ""), ("m has", "one_core+0x10")]
    assert of_pair[6:8] == [("h both", "skb+0x10"), ("m both", "skb+0x10")]
    assert ("h has", "y+0x10") in page.cells
    assert "(prefers-color-scheme: dark)" in text
    assert "lost: eexist" in text
    assert "<td>14,871</td><td>14,871</td>" in text
    assert "5.6 times" in text


def hostile(name: str) -> Comparison:
    found = stack(f"{name}@{name}")
    made = comparison({Pair(found, found): 1, Pair(None, found, name): 1})
    made.function = made.kernel = name
    made.notes.append(name)
    return made


def test_names_are_no_markup() -> None:
    name = "<script>alert('$title')</script>[red]"
    page = as_html(hostile(name))
    assert "<script" not in page
    assert name in as_text(hostile(name), 300)
    assert Elements(page).found


def test_page_opens_the_first_pair_of_each_kind() -> None:
    pairs = {
        Pair(found, found): number for number in range(1, 6) if (found := stack("f", str(number)))
    }
    page = as_html(comparison(pairs), top=3)
    assert page.count('class="pair"') == 3
    assert page.count("<details>") == 2
    assert "(2 more pairs of stacks like that, 3 calls, left out by --top)" in page
