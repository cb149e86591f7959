# SPDX-License-Identifier: MIT
"""What the live view knows, and what keys do to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import growing, summary
from watched import IDLE, NGINX, READ, REDIS, SENT, counts, fed, type_in

from kwalk.model.stack import Count, Stack
from kwalk.tui.control import INTERVALS, Request, press
from kwalk.tui.model import Grouping, Model, Order
from kwalk.tui.prompt import Prompt, pattern_of
from kwalk.tui.rows import KEPT


def shown(model: Model) -> list[tuple[object, float]]:
    return [(row.stack or row.group, row.rate) for row in model.rows()]


def test_rates_are_those_of_the_last_interval() -> None:
    model = fed(counts(100, 40, 1), counts(150, 200, 1), length=2)
    assert shown(model) == [(SENT, 80.0), (READ, 25.0), (IDLE, 0.0)]
    assert (model.rate, model.calls, model.seconds) == (105.0, 351, 4)
    assert [row.calls for row in model.rows()] == [200, 150, 1]
    assert list(model.rates) == [70.5, 105.0]
    assert model.rows()[0].rates(model.tick, 4) == [0, 0, 20, 80]
    assert model.rows()[2].rates(model.tick, 4) == [0, 0, 0.5, 0]


def test_bar_of_two_intervals_shows_the_higher() -> None:
    numbers = [1, 11, 12, 32, 33]
    model = fed(*(counts(number) for number in numbers))
    (row,) = model.rows()
    assert row.rates(5, 5) == [1, 10, 1, 20, 1]
    assert row.rates(5, 4, each=2) == [0, 1, 10, 20]
    model.feed(counts(34), 1, summary(counts(34)))  # what is older does not change its bar
    assert row.rates(6, 4, each=2) == [1, 10, 20, 1]


def test_bar_of_two_intervals_shows_the_higher_in_either_order() -> None:
    model = fed(*(counts(number) for number in (1, 2, 22, 52, 53)))
    (row,) = model.rows()
    assert row.rates(5, 5) == [1, 1, 20, 30, 1]
    assert row.rates(5, 3, each=2) == [1, 20, 30]


def test_intervals_are_kept_as_far_as_they_can_be_drawn() -> None:
    model = fed(*(counts(number) for number in range(1, KEPT + 30)))
    assert len(model.rows()[0].recent) == KEPT == len(model.rates)


@given(growing(), st.sampled_from(list(Grouping)), st.data())
def test_however_it_is_grouped_calls_and_rates_add_up(
    ticks: list[list[Count]], way: Grouping, data: st.DataObject
) -> None:
    model = Model("f", "calls", per="pid")
    switch = data.draw(st.integers(0, len(ticks) - 1))
    before: list[Count] = []
    for tick, found in enumerate(ticks):
        if tick == switch:
            model.grouping = way
            model.rearrange()
        model.feed(found, 2.0, summary(found))
        rows = model.rows()
        assert sum(row.count for row in rows) == sum(count.count for count in found)
        assert sum(row.calls for row in rows) == pytest.approx(sum(c.calls for c in found))
        new = sum(c.calls for c in found) - sum(c.calls for c in before)
        rounding = 1e-9 + 1e-12 * sum(c.calls for c in found)
        assert sum(row.rate for row in rows) == pytest.approx(new / 2, abs=rounding)
        assert model.rate == pytest.approx(new / 2, abs=rounding)
        now = [row.rates(model.tick, 8) for row in rows]
        assert [sum(column) for column in zip(*now, strict=True)][8 - len(model.rates) :] == (
            pytest.approx(list(model.rates), abs=rounding) if rows else []
        )
        before = found


def test_estimates_that_become_less_are_no_negative_rates() -> None:
    model = fed([Count(READ, 1, None, 100.0)], [Count(READ, 2, None, 90.0)])
    assert model.about
    assert shown(model) == [(READ, 0.0)]
    assert model.rate == 0
    assert model.rows()[0].calls == 90


def test_s_sorts_by_rate_total_and_name() -> None:
    model = fed(counts(100, 300, 3), counts(200, 301, 3))

    def seen() -> tuple[Order, list[Stack | None]]:
        return model.order, [row.stack for row in model.rows()]

    assert seen() == (Order.RATE, [READ, SENT, IDLE])
    press(model, "s")
    assert seen() == (Order.TOTAL, [SENT, READ, IDLE])
    press(model, "s")
    assert seen() == (Order.NAME, [IDLE, READ, SENT])
    assert "name" in model.said
    press(model, "s")
    assert seen() == (Order.RATE, [READ, SENT, IDLE])


def test_first_row_stays_selected_until_another_is_chosen() -> None:
    model = fed(counts(10, 5))
    assert model.cursor == 0
    model.feed(counts(11, 50), 1, summary(counts(11, 50)))
    assert model.selected
    assert (model.cursor, model.selected.stack) == (0, SENT)


@pytest.mark.parametrize("down", ["down", "j"])
def test_chosen_row_is_followed(down: str) -> None:
    model = fed(counts(10, 5, 1))
    type_in(model, down)
    assert model.selected
    assert model.selected.stack is SENT
    model.feed(counts(11, 5, 90), 1, summary(counts(11, 5, 90)))
    assert (model.cursor, model.selected.stack) == (2, SENT)
    type_in(model, "home")
    assert model.selected.stack is IDLE
    type_in(model, "end", "k")
    assert model.cursor == 1
    type_in(model, "up", "up", "up")
    assert model.cursor == 0


def test_back_at_the_top_no_row_is_followed() -> None:
    model = fed(counts(10, 5))
    type_in(model, "j", "k")
    model.feed(counts(11, 50), 1, summary(counts(11, 50)))
    assert model.selected
    assert (model.cursor, model.selected.stack) == (0, SENT)


def test_regrouped_rows_keep_their_history() -> None:
    found = [Count(READ, 1, REDIS)], [Count(READ, 1, REDIS), Count(READ, 2, NGINX)]
    model = fed(*found, [Count(READ, 4, REDIS), Count(READ, 2, NGINX)], per="pid")
    press(model, "g")
    assert [list(row.recent) for row in model.rows()] == [[(1, 1), (2, 2), (3, 3)]]


def test_opened_stack_stays_open_where_it_moves() -> None:
    model = fed(counts(10, 5))
    type_in(model, "enter")
    model.feed(counts(11, 50), 1, summary(counts(11, 50)))
    assert model.selected
    assert (model.opened, model.cursor, model.selected.stack) == (True, 1, READ)
    type_in(model, "enter")
    assert not model.opened
    type_in(model, "enter", "esc")
    assert not model.opened


def test_selected_row_is_scrolled_into_view() -> None:
    model = fed(counts(3, 2, 1))
    model.look(2)
    assert model.first == 0
    type_in(model, "end")
    model.look(2)
    assert model.first == 1
    type_in(model, "up")
    model.look(2)
    assert (model.cursor, model.first) == (1, 1)
    type_in(model, "pageup")
    model.look(2)
    assert (model.cursor, model.first) == (0, 0)
    type_in(model, "pagedown")
    assert model.cursor == 2


def per_process() -> Model:
    found = [Count(READ, 10, REDIS), Count(READ, 20, NGINX), Count(SENT, 5, REDIS)]
    return fed(found, per="pid")


def test_g_groups_what_per_gives() -> None:
    model = per_process()
    assert [(row.stack, row.group, row.calls) for row in model.rows()] == [
        (READ, NGINX, 20), (READ, REDIS, 10), (SENT, REDIS, 5),
    ]  # fmt: skip
    press(model, "g")
    assert [row.key for row in model.rows()] == [(READ, None), (SENT, None)]
    assert [row.calls for row in model.rows()] == [30, 5]
    press(model, "g")
    assert [row.key for row in model.rows()] == [(None, NGINX), (None, REDIS)]
    assert [row.calls for row in model.rows()] == [20, 15]
    press(model, "enter")
    assert not model.opened
    assert "no frames" in model.said
    press(model, "g")
    assert model.grouping == Grouping.BOTH


def test_g_without_groups_says_how_to_have_them() -> None:
    model = fed(counts(1))
    press(model, "g")
    assert "--per pid" in model.said
    assert model.grouping == Grouping.STACKS


def test_filter_applies_while_typed_and_esc_clears_it() -> None:
    model = fed(counts(3, 2, 1))
    type_in(model, "/", *"sock")
    assert [row.stack for row in model.rows()] == [READ]
    assert model.filter == ""
    type_in(model, "enter")
    assert (model.filter, model.prompt, model.total_rows) == ("sock", None, 3)
    type_in(model, "/", *"cpu|sys_", "enter")  # replaces what was there
    assert [row.stack for row in model.rows()] == [SENT, IDLE]
    type_in(model, "esc")
    assert model.filter == ""
    assert len(model.rows()) == 3
    type_in(model, "/", *"sock", "enter", "/", "esc")
    assert len(model.rows()) == 3


def test_filter_of_groups_matches_their_names() -> None:
    model = per_process()
    type_in(model, "g", "g", "/", *"ngi", "enter")
    assert [row.group for row in model.rows()] == [NGINX]


def test_filter_that_is_no_regex_is_matched_literally() -> None:
    assert pattern_of("*_send(").search("a*_send(b")
    assert not pattern_of("*_send(").search("a_send(b")
    assert pattern_of("^a.*d$").search("abcd")


def test_keys_are_text_while_a_filter_is_typed() -> None:
    model = fed(counts(3, 2, 1))
    assert type_in(model, "/", *"qsp", "backspace", "backspace", "left") == []
    assert model.prompt == Prompt("filter", "q", filters=True, fresh=False)
    assert not model.frozen
    type_in(model, "clear", "x")
    assert model.prompt
    assert model.prompt.text == "x"


def test_top_is_the_number_of_rows() -> None:
    assert len(fed(counts(3, 2, 1), top=2).rows()) == 2


@pytest.mark.parametrize("key", ["p", " "])
def test_key_freezes_the_view(key: str) -> None:
    model = fed(counts(1))
    type_in(model, key)
    assert model.frozen
    type_in(model, key)
    assert not model.frozen


def test_interval_keys_stay_within_limits() -> None:
    model = fed(counts(1))
    type_in(model, "+")
    assert (model.interval, model.said) == (2.0, "every 2 s")
    type_in(model, "-", "-")
    assert model.interval == 0.5
    type_in(model, *"---")
    assert model.interval == min(INTERVALS)
    type_in(model, *"====================")
    assert model.interval == max(INTERVALS)
    model.interval = 7.0
    type_in(model, "-")
    assert model.interval == 5.0


def test_w_asks_for_a_name() -> None:
    model = fed(counts(1))
    model.name_for_file = "kwalk-top-1.rec"
    assert type_in(model, "w") == []
    assert type_in(model, "enter") == [Request("kwalk-top-1.rec")]
    assert type_in(model, "w", *"a.rec", "enter") == [Request("a.rec")]
    assert type_in(model, "w", "esc") == []
    assert type_in(model, "w", "clear", "enter") == []
    assert model.prompt is None


def test_q_quits_also_from_the_help() -> None:
    model = fed(counts(1))
    assert type_in(model, "q") == [Request()]
    assert type_in(model, "?", "x") == []
    assert not model.help
    assert type_in(model, "h", "q") == [Request()]


def test_message_goes_with_the_next_key_or_in_time() -> None:
    model = fed(counts(1))
    model.say("saved")
    press(model, "j")
    assert model.said == ""
    model.say("saved")
    for _ in range(4):
        model.feed(counts(1), 1, summary(counts(1)))
    assert model.said == "saved"
    model.feed(counts(1), 1, summary(counts(1)))
    assert model.said == ""


KEYS = st.sampled_from([*"jkspg/?w+-q ", "up", "down", "enter", "esc", "pageup", "pagedown", "end"])


@given(growing(), st.lists(KEYS, max_size=30))
def test_keys_in_any_order_keep_the_model_consistent(
    ticks: list[list[Count]], keys: list[str]
) -> None:
    model = Model("f", "calls", per="pid")
    for key in keys:
        press(model, key)
    for found in ticks:
        model.feed(found, 1.0, summary(found))
        for key in keys:
            press(model, key)
            model.look(3)
            assert 0 <= model.first <= model.cursor < max(1, len(model.rows()))
            assert model.cursor - model.first < 3
