# SPDX-License-Identifier: MIT
"""Nodes of the tree become the stacks, and the processes, that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import FUNC, JUMPED_MARK, UNKNOWN_CALLER, A, B, C, D, Planted

from kwalk.abi import NodeKind, Per
from kwalk.decode.contexts import Context, Contexts
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.model.stack import Group, Stack
from kwalk.transport.context_tree import NODE_BYTES

ADDRESSES = st.integers(FUNC + 17, FUNC + (1 << 24))


def contexts(
    planted: Planted, insert_caller: bool = False, returned: bool = False, depth: int = 127
) -> Contexts:
    return Contexts(planted.tree, StackTable(FUNC, depth, insert_caller, returned), Groups(Per.PID))


def shown(stack: Stack | None) -> tuple[tuple[int, ...], bool, bool]:
    assert stack is not None
    return stack.addresses, stack.truncated, stack.fallback


@given(st.lists(st.lists(ADDRESSES, max_size=9), min_size=1, max_size=9))
def test_node_is_the_path_from_the_function(paths: list[list[int]]) -> None:
    planted = Planted()
    leaves = [planted.walked(*path, cpu=number % 2) for number, path in enumerate(paths)]
    reader = contexts(planted)
    for path, leaf in zip(paths, leaves, strict=True):
        assert reader.stack(leaf) == reader.context(leaf).stack
        assert shown(reader.stack(leaf)) == ((FUNC, *path), False, False)
        assert shown(reader.stack(leaf, cut=True)) == ((FUNC, *path), True, False)
        assert reader.context(leaf).group is None
    planted.close()


def test_equal_stacks_of_two_cpus_are_one_object(planted: Planted) -> None:
    reader = contexts(planted)
    first, second = planted.walked(A, B, cpu=0), planted.walked(A, B, cpu=1)
    assert first != second
    assert reader.stack(first) is reader.stack(second)
    assert reader.stack(first) is not reader.stack(first, cut=True)


def test_context_is_read_once(planted: Planted) -> None:
    reader = contexts(planted)
    leaf = planted.walked(A)
    before = reader.context(leaf)
    planted.write(leaf, ip=B)  # never happens; a second look would see it
    assert reader.context(leaf) is before


@pytest.mark.parametrize("cut", [True, False])
def test_cut_stack_ends_before_the_first_unknown_frame(planted: Planted, cut: bool) -> None:
    leaf = planted.walked(A, B, cut=C)
    assert shown(contexts(planted).stack(leaf, cut)) == ((FUNC, A, B), True, False)


def test_code_that_was_replaced_is_still_where_a_stack_went(planted: Planted) -> None:
    leaf = planted.walked(A, B)
    planted.write(planted.walked(A), kind=NodeKind.STALE)
    assert shown(contexts(planted).stack(leaf)) == ((FUNC, A, B), False, False)


def test_group_node_has_the_stack_above_it(planted: Planted) -> None:
    reader = contexts(planted)
    leaf = planted.walked(A)
    ours = reader.context(planted.process(leaf, 7, b"redis\0server"))
    theirs = reader.context(planted.process(leaf, 8, b"a\x1b;b"))
    assert ours == Context(reader.stack(leaf), Group("pid", 7, "redis"))
    assert theirs == Context(reader.stack(leaf), Group("pid", 8, "a?;b"))


def test_group_node_under_a_cut_has_the_cut_stack(planted: Planted) -> None:
    process = planted.process(planted.walked(A, cut=B), 7)
    found = contexts(planted).context(process, cut=True)
    assert shown(found.stack) == ((FUNC, A), True, False)
    assert found.group == Group("pid", 7, "redis")


def test_group_node_under_a_kernels_stack_has_that_stack(planted: Planted) -> None:
    process = planted.process(planted.kernels(D, FUNC + 5, A), 7)
    found = contexts(planted).context(process)
    assert shown(found.stack) == ((FUNC, A), False, True)
    assert found.group == Group("pid", 7, "redis")


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("mark", [UNKNOWN_CALLER, A])
def test_kernels_stack_begins_at_the_function(planted: Planted, mark: int, cut: bool) -> None:
    leaf = planted.kernels(D, FUNC + 5, A, B, mark=mark)
    assert shown(contexts(planted).stack(leaf, cut)) == ((FUNC, A, B), cut, True)


@pytest.mark.parametrize(
    ("mark", "frames"),
    [
        (A, (FUNC, A, B)),
        (UNKNOWN_CALLER, (FUNC, B)),
        (B, (FUNC, B)),
        (A & JUMPED_MARK, (FUNC, A, B)),
    ],
)
def test_caller_mark_is_inserted_by_frame_pointers(
    planted: Planted, mark: int, frames: tuple[int, ...]
) -> None:
    leaf = planted.kernels(FUNC, B, mark=mark)
    assert shown(contexts(planted, insert_caller=True).stack(leaf)) == (frames, False, True)


def test_caller_mark_locates_a_function_that_jumped_to_the_tracer(
    planted: Planted,
) -> None:
    reader = contexts(planted)
    jumped = planted.kernels(D, C, A, B, mark=A & JUMPED_MARK)
    assert shown(reader.stack(jumped)) == ((FUNC, A, B), False, True)
    # The same words without that mark, or with another caller: the function is not there.
    assert reader.stack(planted.kernels(D, C, A, B, mark=A)) is None
    assert reader.stack(planted.kernels(D, C, A, B, mark=(A + 1) & JUMPED_MARK)) is None
    assert reader.stack(planted.kernels(D, C, A, B, mark=UNKNOWN_CALLER)) is None


def test_behind_a_return_the_kernels_words_begin_with_the_caller(planted: Planted) -> None:
    leaf = planted.kernels(A, B, mark=A)
    assert shown(contexts(planted, returned=True).stack(leaf)) == ((FUNC, A, B), False, True)


def test_kernels_stack_without_the_function_is_none_but_can_be_shown(planted: Planted) -> None:
    reader = contexts(planted)
    leaf = planted.kernels(D, C, mark=A)
    assert reader.context(leaf) == Context(None)
    assert reader.whole(leaf).addresses == (D, C)


def test_kernels_stack_cut_before_the_function_has_only_the_function(planted: Planted) -> None:
    root = planted.root(1) + NODE_BYTES
    mark = planted.kernels(mark=A, cpu=1)
    for node in (root, mark):
        stack = contexts(planted).stack(node, cut=True)
        assert stack
        assert (stack.addresses, stack.truncated, stack.fallback) == ((FUNC,), True, True)
    assert contexts(planted).stack(mark) is None


def test_caller_is_known_for_any_node_of_a_stack(planted: Planted) -> None:
    reader = contexts(planted)
    assert reader.caller(planted.walked(A, B)) == A
    assert reader.caller(planted.kernels(FUNC, B, mark=A & ~(1 << 63))) == A
    assert reader.caller(planted.kernels(FUNC, B, mark=1)) == 0
    assert reader.caller(planted.root()) == 0


def test_caller_is_the_address_of_its_node(planted: Planted) -> None:
    reader = contexts(planted)
    assert reader.caller(planted.child(planted.root(), A, NodeKind.KERNEL)) == A
    assert reader.caller(0) == 0
