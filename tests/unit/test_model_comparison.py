# SPDX-License-Identifier: MIT
"""Two stacks of one event side by side: which frames only one of them has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired import DIFFERENT, HELPER, LACKS, LOST, MANUAL, MANUAL_LOST, SAME, comparison
from recorded import frame, stack

from kwalk.model.comparison import FramePair, Pair, PairKind, by_kind, events_of, missed
from kwalk.model.stack import Stack
from kwalk.report.calltree import function_name

STACKS = st.lists(st.sampled_from("abcdef"), max_size=12).map(lambda names: stack("f", *names))


def test_missing_direct_caller_has_a_row_of_its_own() -> None:
    first, second, *others = MANUAL.frames
    assert LACKS.rows() == [
        FramePair(first, first),
        FramePair(None, second, missed=True),
        *(FramePair(f, f) for f in others),
    ]
    assert LACKS.kind() == PairKind.HELPER_LACKS


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (SAME, PairKind.SAME),
        (Pair(MANUAL, HELPER), PairKind.MANUAL_LACKS),
        (DIFFERENT, PairKind.DIFFERENT),
        (LOST, PairKind.HELPER_LOST),
        (MANUAL_LOST, PairKind.MANUAL_LOST),
        (Pair(None, None, "efault"), PairKind.HELPER_LOST),
    ],
)
def test_pairs_are_of_a_kind(pair: Pair, kind: PairKind) -> None:
    assert pair.kind() == kind


@given(STACKS, STACKS)
def test_rows_have_every_frame_once_and_in_order(helper: Stack, manual: Stack) -> None:
    rows = Pair(helper, manual).rows()
    assert tuple(row.helper for row in rows if row.helper) == helper.frames
    assert tuple(row.manual for row in rows if row.manual) == manual.frames
    for row in rows:
        assert row.missed == (row.helper != row.manual)
    same = helper.addresses == manual.addresses
    assert (Pair(helper, manual).kind() == PairKind.SAME) == same


def cut(stack: Stack, length: int) -> Stack:
    return Stack(stack.addresses[:length], truncated=True, frames=stack.frames[:length])


@given(STACKS, st.integers(1, 12), st.booleans())
def test_frames_beyond_a_truncated_stack_are_not_missed(
    whole: Stack, length: int, swap: bool
) -> None:
    part = cut(whole, length)
    assert Pair(*((part, whole) if swap else (whole, part))).kind() == PairKind.SAME


def test_frames_before_the_end_of_a_truncated_stack_are_missed() -> None:
    pair = Pair(cut(HELPER, 2), MANUAL)
    assert [row.missed for row in pair.rows()] == [False, True, False, False, False]


def test_lost_stack_misses_no_frames() -> None:
    assert LOST.rows() == [FramePair(None, found) for found in MANUAL.frames]
    assert MANUAL_LOST.rows() == [FramePair(found, None) for found in HELPER.frames]
    assert Pair(None, None).rows() == []


def test_kinds_and_pairs_come_the_most_frequent_first() -> None:
    other = Pair(stack("ip_rcv", "b"), stack("ip_rcv", "a", "b"))
    kinds = by_kind(comparison({SAME: 5, LACKS: 3, LOST: 1, other: 4}))
    assert {kind: [number for _, number in pairs] for kind, pairs in kinds.items()} == {
        PairKind.HELPER_LACKS: [4, 3], PairKind.SAME: [5], PairKind.HELPER_LOST: [1],
    }  # fmt: skip
    assert list(kinds) == [PairKind.HELPER_LACKS, PairKind.SAME, PairKind.HELPER_LOST]
    assert events_of(kinds[PairKind.HELPER_LACKS]) == 7


def test_missed_functions_are_counted_by_event() -> None:
    twice = Pair(stack("ip_rcv"), stack("ip_rcv", "x", "x"))
    found = missed([(LACKS, 10), (DIFFERENT, 5), (twice, 3), (SAME, 9), (LOST, 7)], function_name)
    assert dict(found.helper) == {"one_core": 10, "x": 8}
    assert dict(found.manual) == {"y": 5}
    assert frame("one_core").name in found.helper
