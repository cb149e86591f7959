# SPDX-License-Identifier: MIT
"""Stacks through a caller, and their inner parts: what is left out is counted, nothing twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from engine import SYMBOLS, Engine
from hypothesis import given
from hypothesis import strategies as st
from planted import FUNC, A, B, C, D

from kwalk.abi import Method, Output
from kwalk.cli.main import main
from kwalk.cli.stopper import Stopper
from kwalk.engine.capture import Capture
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.builder import ProfileBuilder
from kwalk.model.event import Batch, Call
from kwalk.model.stack import Count, Stack
from kwalk.model.stack_filter import Shape
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer

Run = Callable[..., tuple[int, str, str]]


def names(stack: Stack) -> list[str]:
    return [frame.name for frame in Symbolizer(SYMBOLS).frames(stack)]


def shape(through: str | None = None, until: str | None = None) -> Shape:
    return Shape(names, through and re.compile(through), until and re.compile(until))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("through", "until", "seen"),
    [
        ("^b$", None, (FUNC, A, B, C)),
        ("b|d", None, (FUNC, A, B, C)),
        ("^d$", None, None),
        ("ip_rcv", None, None),  # the function itself is no caller
        (None, "b", (FUNC, A, B)),
        (None, "b|c", (FUNC, A, B)),
        (None, "ip_rcv", (FUNC,)),
        (None, "d", (FUNC, A, B, C)),
        (None, "b.", (FUNC, A, B, C)),
        ("c", "a", (FUNC, A)),
        ("d", "a", None),
    ],
)
def test_stack_is_passed_by_caller_and_cut_at_until(
    through: str | None, until: str | None, seen: tuple[int, ...] | None
) -> None:
    found = shape(through, until).stack(Stack((FUNC, A, B, C), truncated=True))
    assert (found and found.addresses) == seen
    if found:  # what was left out on purpose is not cut off
        assert found.truncated == (len(found.addresses) == 4)
    whole = shape().stack(Stack((FUNC, A)))
    assert whole
    assert (whole.addresses, whole.truncated) == ((FUNC, A), False)


_STACKS = [Stack((FUNC, *rest)) for rest in ((), (A,), (A, B), (A, B, C), (A, D), (B, A), (D,))]


@given(st.lists(st.tuples(st.sampled_from(_STACKS), st.integers(1, 100))))
def test_counts_are_neither_lost_nor_made(rows: list[tuple[Stack, int]]) -> None:
    counts = [Count(stack, number, None, number * 2.0) for stack, number in rows]
    builder = ProfileBuilder()
    builder.add(shape("a", "b").counts(counts))
    seen, _ = builder.build()
    through = [count for count in counts if "a" in names(count.stack)[1:]]
    assert sum(count.count for count in seen) == sum(count.count for count in through)
    assert sum(count.calls for count in seen) == 2 * sum(count.count for count in through)
    assert len({count.stack for count in seen}) == len(seen)


def test_pair_leaves_a_stack_truncated_of_which_nothing_is_cut() -> None:
    cut, other = Stack((FUNC, A), truncated=True), Stack((FUNC, B, C))
    pair = shape(None, "b").pair(cut, other)
    assert pair
    assert [(side.addresses, side.truncated) for side in pair if side] == [
        ((FUNC, A), True),
        ((FUNC, B), False),
    ]


Side = tuple[int, ...] | None


@pytest.mark.parametrize(
    ("through", "until", "sides", "seen"),
    [
        ("^b$", None, ((FUNC, A, C), (FUNC, A, B, C)), ((FUNC, A, C), (FUNC, A, B, C))),
        ("^d$", None, ((FUNC, A), (FUNC, B)), None),
        ("^a$", None, (None, (FUNC, A)), (None, (FUNC, A))),
        ("^d$", None, (None, (FUNC, A)), None),
        ("^d$", None, (None, None), (None, None)),
        (None, "b", ((FUNC, A, B, C), (FUNC, B, C)), ((FUNC, A, B), (FUNC, B))),
        # What lies outside of a frame that one side lacks is left out there as well.
        (None, "a", ((FUNC, B, C), (FUNC, A, B, C)), ((FUNC,), (FUNC, A))),
        (None, "a", ((FUNC, A, B, C), (FUNC, D, C)), ((FUNC, A), (FUNC, D))),
        (None, "c", ((FUNC, A), (FUNC, A, B, C)), ((FUNC, A), (FUNC, A, B, C))),
        ("c", "b", (None, (FUNC, A, B, C)), (None, (FUNC, A, B))),
    ],
)
def test_pair_of_stacks_is_filtered_alike(
    through: str | None,
    until: str | None,
    sides: tuple[Side, Side],
    seen: tuple[Side, Side] | None,
) -> None:
    stacks = [Stack(side) if side else None for side in sides]
    found = shape(through, until)
    pair = found.pair(*stacks)
    assert (pair and tuple(side and side.addresses for side in pair)) == seen
    assert found.pair(*stacks) is pair


@given(st.lists(st.sampled_from(_STACKS)))
def test_batch_is_split_in_order(stacks: list[Stack]) -> None:
    calls = [Call(stack) for stack in stacks]
    seen, unseen = shape("b").batch(Batch(calls, range(len(calls)), [b"x"] * len(calls)))
    assert sorted([*seen.times, *unseen.times]) == list(range(len(calls)))
    for index, call in zip(seen.times, seen.calls, strict=True):
        assert "b" in names(call.stack)[1:]
        assert call.stack.addresses == stacks[index].addresses
    for index, call in zip(unseen.times, unseen.calls, strict=True):
        assert "b" not in names(call.stack)[1:]
        assert call is calls[index]
    assert len(seen.clocks) == len(seen.calls)


def test_ledger_counts_other_callers(engine: Engine) -> None:
    engine.count(6)
    engine.planted.count(engine.planted.walked(A, B), ended=1)
    engine.planted.count(engine.planted.walked(A, B, C), ended=2)
    engine.planted.count(engine.planted.walked(D), cut=3)
    options = ProbeOptions(
        Method.MANUAL, output=Output.COUNT, through=re.compile("a"), until=re.compile("b")
    )
    with Capture("ip_rcv", options) as capture:
        capture.stop()
        for _ in range(2):
            (count,) = capture.counts()
            assert (count.stack.addresses, count.count) == ((FUNC, A, B), 3)
            ledger = capture.summary().ledger
            assert (ledger.recorded, ledger.not_wanted, ledger.lost, ledger.truncated) == (
                *(3, {"other_callers": 3}, {}, 0),
            )
            assert ledger.balance == 0


def test_events_are_chosen_alike(engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(Stopper, "stopped", stopped, raising=False)
    engine.count(4)
    engine.ring = [[engine.walked(A, B), engine.walked(D), engine.walked(A, C), engine.walked(D)]]
    words = ("--method=manual", "--from-caller=^a$", "--until=[ab]", "--format=json")
    code, out, err = run(main, "stream", "ip_rcv", *words)
    assert code == 0
    *events, last = [json.loads(line) for line in out.splitlines()]
    assert [[f["name"] for f in event["frames"]] for event in events] == [["ip_rcv", "a"]] * 2
    assert last["ledger"]["not_wanted"] == {"other_callers": 2}
    assert "4 calls = 2 stacks + 2 not wanted + 0 lost" in err


def test_invalid_regex_is_refused(usage_error: Callable[..., str]) -> None:
    line = usage_error(main, "ip_rcv", "--from-caller=[")
    assert "argument --from-caller: '[' is not a regular expression: unterminated" in line


ALIASED = Kallsyms(
    b"%016x T ip_rcv\n%016x T __do_a\n%016x T __ia32_a\n%016x t b.isra.0\n%016x T c\n"
    % (FUNC, A - 16, A - 16, B - 16, C - 16)
)


@pytest.mark.parametrize(
    ("through", "until", "seen"),
    [
        ("^__do_a$", None, (FUNC, A, B, C)),
        ("^__ia32_a$", None, (FUNC, A, B, C)),
        ("^b$", None, (FUNC, A, B, C)),
        ("^b.isra.0$", None, (FUNC, A, B, C)),
        ("^__x64_a$", None, None),
        (None, "__ia32_a", (FUNC, A)),
        (None, "__do_a", (FUNC, A)),
        (None, "b", (FUNC, A, B)),
    ],
)
def test_filters_match_each_name_of_a_function(
    through: str | None, until: str | None, seen: tuple[int, ...] | None
) -> None:
    symbolizer = Symbolizer(ALIASED)
    made = Shape(
        lambda stack: [frame.name for frame in symbolizer.frames(stack)],
        re.compile(through) if through else None,
        re.compile(until) if until else None,
        symbolizer.also,
    )
    found = made.stack(Stack((FUNC, A, B, C)))
    assert (found and found.addresses) == seen
