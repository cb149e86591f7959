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


def test_difference_of_a_walk_names_the_kernels_stack_beside_it(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.walked(A, B), planted.kernels(D, FUNC + 5, A, C)
    comparison.difference(record(node, other), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A, B), (FUNC, A, C))]


def test_difference_of_a_fallback_names_the_walk_beside_it(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.kernels(FUNC, A, C, mark=A), planted.walked(A, B)
    comparison.difference(record(node, other, FALLBACK), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A, B), (FUNC, A, C))]


def test_difference_shows_a_kernels_stack_without_the_function(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.walked(A), planted.kernels(D, C)
    comparison.difference(record(node, other), contexts.stack(node))
    assert sides(comparison) == [((FUNC, A), (D, C))]


def test_event_without_a_stack_shows_no_difference(
    planted: Planted, contexts: Contexts, comparison: DifferenceCollector
) -> None:
    node, other = planted.kernels(D, C, mark=A), planted.walked(A)
    assert contexts.stack(node) is None
    comparison.difference(record(node, other, FALLBACK), None)
    assert sides(comparison) == []


def test_differences_beyond_the_first_ones_take_no_memory(
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
def test_verify_is_none_where_nothing_was_or_was_to_be_compared(
    contexts: Contexts, every: int, checked: int, shown: bool
) -> None:
    verify = DifferenceCollector(contexts, every).verify(NOTHING | {"checked": checked})
    assert (verify is not None) == shown
    if verify:
        assert (verify.every, verify.checked) == (every, checked)


def test_verify_returned_earlier_does_not_change(
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


def test_self_check_note_is_only_for_failures() -> None:
    assert self_check_notes(NOTHING | {"checked": 64}) == []
    (note,) = self_check_notes(NOTHING | {"checked": 64, "mismatches": 3})
    assert note.startswith("the self-check failed: 3 of 64 stacks differ from the kernel's; ")
