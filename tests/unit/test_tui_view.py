# SPDX-License-Identifier: MIT
"""The live view as lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import growing, stack, summary
from watched import NGINX, READ, REDIS, SENT, counts, fed, told, type_in

from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count, Group
from kwalk.tui import numbers
from kwalk.tui.control import press
from kwalk.tui.labels import Labels, labels
from kwalk.tui.lines import block
from kwalk.tui.look import ASCII, UNICODE, Look, bars, cells, cut, pad, paint, text_of
from kwalk.tui.model import Model, TracingCost
from kwalk.tui.view import View

NOON = datetime(2026, 3, 4, 12, 0, 30).timestamp()


def drawn(model: Model, width: int = 80, height: int = 24, look: Look = UNICODE) -> list[str]:
    lines = View(look).draw(model, width, height)
    return [text_of(line).rstrip() for line in lines]


def test_view_is_drawn_whole() -> None:
    assert drawn(fed(counts(100, 40), counts(150, 200)), height=9) == [
        "kwalk top ip_rcv  210/s  350 calls  2 stacks  2 s  ▆█",
        "in all: ip_rcv ← softirq ← send ← ⋯ ← syscall ← entry",
        "  rate/s▾ share     total 20 x 1 s   callers of ip_rcv",
        "▸    160  76.2%       200         ▂█ sys_sendto",
        "      50  23.8%       150         █▄ sock_write ← vfs_write",
        "",
        "ledger: 352 calls = 350 stacks + 0 lost + 2 under way",
        "manual by fentry · every 1 s · cost: programs 1.2% + kwalk 0.4% of CPU time",
        "q quit  ? help  Enter open  s sort  / filter  p freeze  +- pace  w save",
    ]


def test_view_can_be_drawn_in_ascii() -> None:
    model = fed(counts(100, 40), counts(150, 200))
    every = drawn(model, look=ASCII)
    type_in(model, "enter")
    every += drawn(model, look=ASCII) + drawn(model, width=40, look=ASCII)
    type_in(model, "/")
    every += drawn(model, look=ASCII)
    assert all(line.isascii() for line in every)
    assert any(">    160  76.2%       200         :@ sys_sendto" in line for line in every)


def test_view_before_the_first_interval_says_so() -> None:
    lines = drawn(Model("ip_rcv", "calls"))
    assert "  the first interval ends in 1 s".strip() in [line.strip() for line in lines]
    assert lines[-3:-1] == ["nothing has been read yet", "every 1 s"]


def test_interval_that_took_longer_is_marked() -> None:
    model = fed(counts(1), length=1.0)
    assert "every 1 s · cost" in drawn(model)[-2]
    model.feed(counts(2), 2.34, summary(counts(2)))
    assert "every 1 s (took 2.3 s)" in drawn(model)[-2]


def test_view_without_calls_says_so() -> None:
    assert "nothing has called ip_rcv yet" in drawn(fed([]))


def test_losses_are_told_by_cause() -> None:
    found = counts(5)
    model = Model("ip_rcv", "samples")
    model.feed(found, 1, told(found, 3, recursion=2, filtered=7, sampled_out=1))
    lines = drawn(model)
    assert "ledger: 18 samples = 5 stacks + 8 not wanted + 2 lost + 3 under way" in lines
    assert "  not wanted: 7 filtered, lost: 2 recursion, not wanted: 1 sampled_out" in lines


def test_truncated_and_fallback_are_shown() -> None:
    found = [Count(stack("f", "a", truncated=True), 3), Count(stack("f", "b", fallback=True), 4)]
    assert "  truncated: 3, fallback: 4" in drawn(fed(found))


def test_notes_are_counted_and_the_help_has_them() -> None:
    model = fed(counts(1))
    assert model.summary
    model.summary.notes = ["the walk is not possible here", "another"]
    model.summary.ledger.uncounted = ["this kernel does not count it"]
    assert "? help (3 notes)" in drawn(model)[-1]
    type_in(model, "?")
    lines = drawn(model)
    assert "  note: the walk is not possible here" in lines
    assert "  not counted: this kernel does not count it" in lines
    assert lines[-3].startswith("ledger: ")


def test_opened_stack_shows_every_frame() -> None:
    model = fed(counts(100, 40))
    type_in(model, "j", "enter")
    lines = drawn(model)
    assert "── 40 calls, 28.6 % of all; 40/s" in lines
    at = lines.index("── 40 calls, 28.6 % of all; 40/s")
    assert lines[at + 1 : at + 4] == [" 0 ip_rcv+0x0", " 1 softirq+0x10", " 2 send+0x10"]
    assert lines[3].startswith("     100")
    assert lines[4].startswith("▸     40")


def test_frames_that_do_not_fit_below_each_other_stand_in_columns() -> None:
    model = fed([Count(stack("f", *(f"caller_{number}" for number in range(20))), 7)])
    type_in(model, "enter")
    lines = drawn(model)
    shown = "\n".join(lines)
    assert shown.count("caller_") >= 20
    assert ["0", "f+0x0", "11", "caller_10+0x10"] in [line.split() for line in lines]


def test_frames_that_do_not_fit_at_all_can_be_scrolled_to() -> None:
    deep = stack("f", *(f"a_function_with_a_long_name_{number}" for number in range(30)))
    model = fed([Count(deep, 7)])
    type_in(model, "enter")
    seen = drawn(model, 50, 16)
    assert "PgDn: 23 more" in "\n".join(seen)
    for _ in range(40):
        type_in(model, "pagedown")
        seen += drawn(model, 50, 16)
    for number in range(30):
        assert any(f"long_name_{number}+0x10" in line for line in seen)
    last = seen[-16:]
    assert any("long_name_29" in line for line in last)  # no further than to the end
    assert not any("long_name_1+" in line for line in last)


def test_groups_have_a_line_each() -> None:
    found = [Count(READ, 10, REDIS), Count(READ, 20, NGINX), Count(SENT, 5, REDIS)]
    model = fed(found, per="pid")
    lines = drawn(model, 100)
    assert lines[2].split()[-5:] == ["s", "pid", "callers", "of", "ip_rcv"]
    assert lines[3].endswith(" nginx (8) sock_write ← vfs_write")
    assert lines[5].endswith(" redis (7) sys_sendto")
    type_in(model, "g", "g")
    assert drawn(model)[3].endswith("█ nginx (8)")
    assert drawn(model)[0].startswith("kwalk top ip_rcv  35/s  35 calls  2 groups  ")


def test_filter_shows_how_many_stacks_it_leaves() -> None:
    model = fed(counts(100, 40))
    type_in(model, "/", *"sock")
    assert drawn(model)[-1] == "filter: sock▏  (Enter keeps it, Esc clears it)"
    assert "  1 of 2 stacks  " in drawn(model)[0]
    type_in(model, "enter")
    assert "filter: sock" in drawn(model)[0]
    type_in(model, "/", *"none", "enter")
    assert "no stack matches the filter; Esc clears it" in drawn(model)


def test_frozen_view_says_so() -> None:
    model = fed(counts(1))
    type_in(model, "p")
    assert "frozen" in drawn(model)[0]


def test_rows_beyond_the_screen_are_told_of_and_can_be_reached() -> None:
    every = [Count(stack("f", f"caller_{number:02}"), 100 - number) for number in range(40)]
    model = fed(every)
    assert drawn(model)[2].endswith(" 1-18 of 40")
    type_in(model, *(["j"] * 20))
    lines = drawn(model)
    assert lines[2].endswith(" 4-21 of 40")
    assert lines[20].startswith("▸")
    assert lines[20].endswith("caller_20")


def test_estimates_are_marked() -> None:
    model = fed([Count(READ, 3, None, 300.0)])
    model.tell_sampling("budget 2 %: one call in 100 is recorded")
    lines = drawn(model)
    assert lines[0].startswith("kwalk top ip_rcv  about 300/s  about 300 calls  1 stack ")
    assert "budget 2 %: one call in 100 is recorded" in lines


def test_names_cannot_move_the_cursor() -> None:
    model = fed([Count(READ, 3, Group("comm", 0, "\x1b[2J\n\t\x9b"))], per="comm")
    type_in(model, "enter")
    for line in drawn(model):
        assert line.isprintable()


@pytest.mark.parametrize("look", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(
    ticks=growing(),
    keys=st.lists(st.sampled_from([*"jkspg/?w", "enter", "pagedown"]), max_size=8),
    width=st.integers(20, 250),
    height=st.integers(5, 60),
)
def test_view_always_fits(
    look: Look, ticks: list[list[Count]], keys: list[str], width: int, height: int
) -> None:
    model, view = Model("ip_rcv", "calls", per="pid"), View(look)
    for found in ticks:
        model.feed(found, 1.0, summary(found), TracingCost(None, 0.1))
        for key in keys:
            press(model, key)
        lines = view.draw(model, width, height)
        assert len(lines) == height
        assert all(cells(text_of(line)) <= width for line in lines)
        if model.rows() and not model.help and height > 12:
            assert any(text_of(line).startswith(look.chosen) for line in lines)


def test_lines_of_stacks_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(*args: Any) -> Labels:
        made.append(1)
        return labels(*args)

    monkeypatch.setattr("kwalk.tui.view.labels", counted)
    model, view = fed(counts(2, 1)), View(UNICODE)
    first = view.draw(model, 80, 24)
    for found in (counts(2, 9), counts(30, 9)):  # they change places
        model.feed(found, 1, summary(found))
        view.draw(model, 80, 24)
    assert len(made) == 1
    type_in(model, "/", *"sock", "enter")  # one of them is out of sight, not for long perhaps
    view.draw(model, 80, 24)
    assert len(made) == 1
    view.draw(model, 90, 24)
    assert len(made) == 2
    type_in(model, "esc")
    assert first != view.draw(model, 80, 24)


def test_lines_for_where_nothing_can_be_drawn() -> None:
    model = fed(counts(100, 40, 1), counts(150, 200, 1))
    assert block(model, 80, UNICODE, NOON) == (
        "--- 12:00:30, 2 s: 210/s, 351 calls, 3 stacks\n"
        "  in all: ip_rcv ← softirq ← send ← ⋯ ← syscall ← entry\n"
        "   160/s  76.2%       200  sys_sendto\n"
        "    50/s  23.8%       150  sock_write ← vfs_write\n"
        "  ledger: 353 calls = 351 stacks + 0 lost + 2 under way\n"
        "  truncated: 1\n"
        "  cost: programs 1.2% + kwalk 0.4% of CPU time\n\n"
    ).replace("  truncated", "    truncated")


def test_lines_where_less_is_called_than_was_thought_before() -> None:
    """With --sample, what a stack's calls stand for is an estimate, and may go down."""
    first, later = ([replace(c, scaled=s) for c, s in zip(counts(1, 1), scaled, strict=True)]
                    for scaled in ([100.0, 100.0], [110.0, 80.0]))  # fmt: skip
    text = block(fed(first, later), 80, UNICODE, NOON)
    assert text.startswith("--- 12:00:30, 2 s: about 0/s, about 190 calls, 2 stacks\n")
    assert "\n    10/s              110  " in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7.5, "7.5"), (7.0, "7"), (99.96, "100"), (15901.4, "15,901"), (99_999, "99,999"),
        (195_335, "195k"), (999_600, "1.00M"), (1_234_567, "1.23M"), (12_345_678, "12.3M"),
        (123_456_789, "123M"), (5e9, "5.00G"), (7e13, "70.0T"),
    ],
)  # fmt: skip
def test_rates_take_six_columns_at_most(value: float, text: str) -> None:
    assert numbers.short(value) == text
    assert len(text) <= 6


def test_totals_are_exact_as_long_as_there_is_room() -> None:
    assert numbers.whole(9_999_999) == "9,999,999"
    assert numbers.whole(12_345_678) == "12.3M"


@given(st.floats(0, 1e14))
def test_numbers_fit(value: float) -> None:
    assert len(numbers.short(value)) <= 6
    assert len(numbers.whole(value)) <= 9


def test_times() -> None:
    assert [numbers.length(s) for s in (0.9, 59.9, 60, 3599, 3661)] == [
        "0 s", "59 s", "1:00", "59:59", "1:01:01",
    ]  # fmt: skip


def test_bars_scale_to_the_highest_and_show_small_values() -> None:
    assert bars([0, 1, 50, 100, 1000], UNICODE) == " ▁▁▁█"
    assert bars([0, 0], UNICODE) == "  "
    assert bars([], UNICODE) == ""


def test_our_own_characters_take_a_column_each() -> None:
    from rich.cells import cell_len

    for char in "".join(map(str, UNICODE)) + "▏":
        assert cells(char) == cell_len(char) == 1


def test_lines_are_cut_in_columns_not_characters() -> None:
    assert pad("abcdef", 4, "…") == "abc…"
    assert pad("ab", 4, "…") == "ab  "
    assert cells(pad("日本語の名前", 5, "…")) == 5
    assert text_of(cut([("", "ab"), ("dim", "cdef")], 4, "…")) == "abc…"
    assert cut([("", "ab"), ("dim", "cd")], 2, "…") == [("", "ab")]


def test_paint_without_colors_is_plain_text() -> None:
    line = [("title", "a"), ("", "b"), ("selected", "c")]
    assert paint(line, colors=False) == "abc"
    assert paint(line, colors=True) == "\x1b[1ma\x1b[mb\x1b[7mc\x1b[m"


def test_ledger_line_uses_the_unit() -> None:
    model = Model("t:sched:x", "events")
    model.feed([], 1, Summary("t:sched:x", "manual", "raw_tp", "6.12", Ledger(), unit="events"))
    assert "ledger: 0 events = 0 stacks + 0 lost" in drawn(model)
