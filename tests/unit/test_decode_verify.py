# SPDX-License-Identifier: MIT
"""Both sides of a difference stand in the tree, and the first ones are kept."""

from __future__ import annotations

import tracemalloc

import pytest
from planted import FUNC, A, B, C, D, Planted

from kwalk.abi import COUNTERS, DIFFERS, FALLBACK, Per
from kwalk.decode.contexts import Contexts
from kwalk.decode.groups import Groups
from kwalk.decode.records import Record
from kwalk.decode.stacks import StackTable
from kwalk.decode.verify import SHOWN, DifferenceCollector, self_check_notes
from kwalk.model.ledger import Difference

NOTHING = dict.fromkeys(COUNTERS.fields, 0)
Sides = list[tuple[tuple[int, ...], tuple[int, ...]]]


def record(node: int, other: int, flags: int = 0) -> Record:
    return Record(node=node, stack_id=0, other=other, flags=DIFFERS | flags)


@pytest.fixture
def contexts(planted: Planted) -> Contexts:
    return Contexts(planted.tree, StackTable(FUNC, 127, insert_caller=False), Groups(Per.NOTHING))


@pytest.fixture
def comparison(contexts: Contexts) -> DifferenceCollector:
    return DifferenceCollector(contexts, 1)


def sides(comparison: DifferenceCollector) -> Sides:
    verify = comparison.verify(NOTHING)
    assert verify
    return [(found.walked.addresses, found.kernel.addresses) for found in verify.differences]


def test_the_events_stack_is_the_walks_and_the_other_the_kernels(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.walked(A, B), planted.kernels(D, FUNC + 5, A, C)
    comparison.difference(record(node, other), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A, B), (FUNC, A, C))]


def test_where_the_kernels_is_the_events_the_other_is_the_walks(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.kernels(FUNC, A, C, mark=A), planted.walked(A, B)
    comparison.difference(record(node, other, FALLBACK), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A, B), (FUNC, A, C))]


def test_a_kernels_stack_without_the_function_is_shown_as_it_is(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.walked(A), planted.kernels(D, C)
    comparison.difference(record(node, other), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A), (D, C))]


def test_an_event_that_has_no_stack_shows_no_difference(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.kernels(D, C, mark=A), planted.walked(A)
    assert contexts.stack(node) is None
    comparison.difference(record(node, other, FALLBACK), None)
    assert sides(comparison) == []


def test_only_the_first_differences_are_kept_and_take_no_more_memory_with_time(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    other = planted.kernels(FUNC, B)
    nodes = [planted.walked(A + number) for number in range(20)]
    stacks = [contexts.stack(node) for node in nodes]
    tracemalloc.start()
    try:
        for number in range(20_000):
            at = number % len(nodes)
            comparison.difference(record(nodes[at], other), stacks[at])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    assert sides(comparison) == [((FUNC, A + number), (FUNC, B)) for number in range(SHOWN)]


@pytest.mark.parametrize(
    ("every", "checked", "shown"), [(0, 0, False), (0, 64, True), (1, 0, True), (100, 9, True)]
)
def test_there_is_something_to_tell_where_the_walk_was_or_was_to_be_compared(
    contexts: Contexts, every: int, checked: int, shown: bool
) -> None:
    verify = DifferenceCollector(contexts, every).verify(NOTHING | {"checked": checked})
    assert (verify is not None) == shown
    if verify:
        assert (verify.every, verify.checked) == (every, checked)


def test_what_was_told_stays_as_it_was(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    before = comparison.verify(NOTHING)
    node = planted.walked(A)
    comparison.difference(record(node, planted.kernels(FUNC, B)), contexts.stack(node))
    assert before
    assert before.differences == []
    after = comparison.verify(NOTHING)
    assert after
    assert [type(found) for found in after.differences] == [Difference]


def test_a_self_check_is_worth_a_note_only_if_it_failed() -> None:
    assert self_check_notes(NOTHING | {"checked": 64}) == []
    (note,) = self_check_notes(NOTHING | {"checked": 64, "mismatches": 3})
    assert note.startswith("the self-check failed: 3 of 64 stacks differ from the kernel's; ")
