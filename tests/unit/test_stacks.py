# SPDX-License-Identifier: MIT
"""Raw addresses become stacks that begin at the traced function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.decode.stacks import StackTable

FUNC = 0xFFFFFFFF81800000
ADDRESSES = st.integers(0xFFFFFFFF81000000, 0xFFFFFFFF82000000)
OUTSIDE = ADDRESSES.filter(lambda address: not FUNC <= address <= FUNC + 16)


def words(*addresses: int, size: int = 0) -> tuple[int, ...]:
    """Addresses as the kernel writes them, up to ``size`` of them: the rest is zero."""
    return addresses + (0,) * (size - len(addresses))


def table(depth: int = 127, insert_caller: bool = False) -> StackTable:
    return StackTable(FUNC, depth, insert_caller)


@given(
    st.lists(OUTSIDE, max_size=5),
    st.integers(0, 16),
    st.lists(ADDRESSES, max_size=20),
    st.integers(26, 40),
)
def test_tracer_frames_and_padding_are_cut_off(
    tracer: list[int], entry: int, callers: list[int], size: int
) -> None:
    stack = table(64).unwound(words(*tracer, FUNC + entry, *callers, size=size))
    assert stack is not None
    assert stack.addresses == (FUNC, *callers)
    assert not stack.truncated
    assert not stack.fallback


@given(st.lists(OUTSIDE, max_size=20), st.integers(0, 40), ADDRESSES | st.none())
def test_stack_without_the_function_is_none(
    others: list[int], size: int, caller: int | None
) -> None:
    assert table(insert_caller=True).unwound(words(*others, size=size), caller) is None


@pytest.mark.parametrize(("distance", "found"), [(-1, False), (0, True), (16, True), (17, False)])
def test_entry_is_within_16_bytes_of_the_function(distance: int, found: bool) -> None:
    stack = table().unwound(words(FUNC + distance, 0xFFFFFFFF81000001))
    assert (stack is not None) == found


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 3))
def test_helper_stack_that_fills_the_map_is_truncated(used: int, depth: int, padding: int) -> None:
    callers = range(0xFFFFFFFF81000001, 0xFFFFFFFF81000001 + used - 1)
    stack = table(depth).unwound(words(FUNC, *callers, size=used + padding))
    assert stack is not None
    assert stack.truncated == (used >= depth)


def test_caller_is_inserted_only_into_fallbacks_that_lack_it() -> None:
    caller, further = 0xFFFFFFFF81000100, 0xFFFFFFFF81000200
    missed, whole = words(FUNC, further), words(FUNC, caller, further)

    def addresses(insert: bool, raw: tuple[int, ...], known: int | None) -> tuple[int, ...]:
        stack = table(insert_caller=insert).unwound(raw, known)
        assert stack is not None
        assert stack.fallback == (known is not None)
        return stack.addresses

    assert addresses(True, missed, caller) == (FUNC, caller, further)
    assert addresses(True, whole, caller) == (FUNC, caller, further)
    assert addresses(True, words(FUNC), caller) == (FUNC, caller)
    assert addresses(True, missed, 0) == (FUNC, further)  # the entry could not be read
    assert addresses(True, missed, None) == (FUNC, further)  # what the helper method says
    assert addresses(False, missed, caller) == (FUNC, further)


@pytest.mark.parametrize("frames", [(1, 2, 3, 4, 5), (2, 3, 4)], ids=["whole", "caller inserted"])
def test_fallback_stack_has_at_most_depth_frames(frames: tuple[int, ...]) -> None:
    stack = table(depth=4, insert_caller=True).unwound(words(FUNC, *frames), caller=1)
    assert stack is not None
    assert stack.addresses == (FUNC, 1, 2, 3)
    assert stack.truncated


# The kernel's answer to a fallback has room for 127 frames, whatever the depth.
@pytest.mark.parametrize("tracer", [(), (1, 2, 3)])
def test_fallback_stack_of_just_that_depth_is_not_truncated(
    tracer: tuple[int, ...],
) -> None:
    stack = table(depth=4).unwound(words(*tracer, FUNC, 7, 8, 9, size=10), caller=7)
    assert stack is not None
    assert stack.addresses == (FUNC, 7, 8, 9)
    assert not stack.truncated


def test_equal_stacks_are_one_object() -> None:
    stacks = table()
    one = stacks.walked(words(FUNC, 1, 2), False)
    assert one.addresses == (FUNC, 1, 2)
    assert stacks.walked(words(FUNC, 1, 2), False) is one
    assert stacks.unwound(words(FUNC, 1, 2, size=9)) is one
    assert stacks.unwound(words(77, FUNC + 5, 1, 2)) is one
    others = {
        one,
        stacks.walked(words(FUNC, 1, 2), True),
        stacks.unwound(words(FUNC, 1, 2), 1),
        stacks.walked(words(FUNC, 1, 3), False),
    }
    assert len(others) == 4
    assert stacks.walked(words(FUNC, 1, 2), True).truncated


@given(st.lists(ADDRESSES, max_size=20), st.integers(21, 40), ADDRESSES | st.none())
def test_return_probe_stack_begins_with_the_caller(
    callers: list[int], size: int, caller: int | None
) -> None:
    stack = StackTable(FUNC, 64, False, returned=True).unwound(words(*callers, size=size), caller)
    assert stack is not None
    assert stack.addresses == (FUNC, *callers)
    assert not stack.truncated
    assert stack.fallback == (caller is not None)


def test_return_probe_keeps_a_caller_within_the_function_itself() -> None:
    # Recursion: the function returns to itself, close to its entry.
    stack = StackTable(FUNC, 64, False, returned=True).unwound(words(7, FUNC + 9, 8))
    assert stack is not None
    assert stack.addresses == (FUNC, 7, FUNC + 9, 8)


@pytest.mark.parametrize(("used", "truncated"), [(3, False), (4, True)])
def test_return_probe_stack_that_fills_the_map_is_truncated(used: int, truncated: bool) -> None:
    stack = StackTable(FUNC, 4, False, returned=True).unwound(words(*range(1, used + 1), size=4))
    assert stack is not None
    assert stack.addresses == (FUNC, 1, 2, 3)
    assert stack.truncated == truncated


@pytest.mark.parametrize(("used", "cut"), [(5, False), (6, True)])
@pytest.mark.parametrize("caller", [None, 9])
def test_stack_as_deep_as_the_kernel_unwinds_is_truncated(
    used: int, cut: bool, caller: int | None
) -> None:
    table = StackTable(FUNC, 64, insert_caller=False, kernel_depth=6)
    stack = table.unwound(words(FUNC, *range(1, used), size=6), caller)
    assert stack is not None
    assert stack.truncated == cut


def test_stack_of_a_jumped_function_begins_before_its_caller() -> None:
    table = StackTable(FUNC, 64, insert_caller=False)
    stack = table.unwound(words(7, 8, 100, 101, size=6), follows=100)
    assert stack is not None
    assert stack.addresses == (FUNC, 100, 101)
    assert table.unwound(words(7, 8, 100, 101, size=6), follows=102) is None


@pytest.mark.parametrize("caller", [None, 9])
def test_stack_cut_for_want_of_room_is_truncated(caller: int | None) -> None:
    stacks = table()
    whole = stacks.unwound([FUNC, 1, 2], caller)
    cut = stacks.unwound([FUNC, 1, 2], caller, cut=True)
    assert whole
    assert cut
    assert cut.addresses == whole.addresses == (FUNC, 1, 2)
    assert (whole.truncated, cut.truncated) == (False, True)
    assert cut is not whole
    assert whole.fallback == cut.fallback == (caller is not None)


def test_addresses_may_be_a_list() -> None:
    stacks = table()
    assert stacks.walked([FUNC, 1], False) is stacks.walked((FUNC, 1), False)
    assert stacks.unwound([7, 8, 100, 0], follows=100) is stacks.unwound((FUNC, 100))
