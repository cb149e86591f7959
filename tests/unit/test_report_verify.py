# SPDX-License-Identifier: MIT
"""What a user reads of the comparison with the kernel's unwinder."""

from __future__ import annotations

import pytest

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.ledger import Difference, Verify
from kwalk.model.stack import Stack
from kwalk.report.verify import KERNEL_WRONG, lines
from kwalk.symbolize.symbolizer import Symbolizer

SYMBOLS = Symbolizer(
    Kallsyms(
        b"ffffffff81000000 T ip_rcv\n"
        b"ffffffff81000100 T net_rx_action\n"
        b"ffffffff81000200 T do_softirq\n"
        b"ffffffffc0000000 t dummy_xmit\t[dummy]\n"
    )
)
FUNC, CALLER, OUTER, MODULE = (
    0xFFFFFFFF81000000,
    0xFFFFFFFF81000110,
    0xFFFFFFFF81000220,
    0xFFFFFFFFC0000030,
)


def test_passed_self_check_has_no_line() -> None:
    assert lines(Verify(every=0, checked=128), SYMBOLS) == []
    assert lines(Verify(every=0, checked=128, missing_caller=128), SYMBOLS) == []


@pytest.mark.parametrize("every", [0, 1, 100])
def test_differences_are_always_reported(every: int) -> None:
    assert lines(Verify(every, checked=12_345, mismatches=1_001), SYMBOLS) == [
        "  verify: 12,345 stacks compared with the kernel's unwinder, 1,001 differ"
    ]


@pytest.mark.parametrize("every", [1, 100])
def test_requested_comparison_is_always_reported(every: int) -> None:
    assert lines(Verify(every, checked=7), None) == [
        "  verify: 7 stacks compared with the kernel's unwinder, 0 differ"
    ]
    assert lines(Verify(every, checked=0), None) == ["  verify: nothing was compared"]


def test_kernel_errors_are_told_apart_from_differences() -> None:
    wrong = {"stacked_hooks": 2, "int3_start": 1_000}
    assert lines(Verify(1, 5_000, 0, 3_000, wrong), SYMBOLS) == [
        "  verify: 5,000 stacks compared with the kernel's unwinder, 0 differ",
        "  verify: 3,000 of the kernel's lack the direct caller, which kwalk has",
        f"  verify: 2 of the kernel's are wrong: {KERNEL_WRONG['stacked_hooks']}",
        f"  verify: 1,000 of the kernel's are wrong: {KERNEL_WRONG['int3_start']}",
    ]


def test_unknown_kernel_error_is_shown_by_its_name() -> None:
    found = lines(Verify(1, 9, kernel_wrong={"a_new_cause": 3}), SYMBOLS)
    assert found[1:] == ["  verify: 3 of the kernel's are wrong: a_new_cause"]


def test_lines_of_one_stack_are_in_the_singular() -> None:
    assert lines(Verify(1, 1, 1, 1, {"nested_nmi": 1}), SYMBOLS) == [
        "  verify: 1 stack compared with the kernel's unwinder, 1 differs",
        "  verify: 1 of the kernel's lacks the direct caller, which kwalk has",
        f"  verify: 1 of the kernel's is wrong: {KERNEL_WRONG['nested_nmi']}",
    ]


def test_difference_is_shown_side_by_side() -> None:
    walked, kernel = Stack((FUNC, CALLER, OUTER)), Stack((FUNC, MODULE, OUTER, OUTER))
    found = lines(Verify(1, 9, 2, differences=[Difference(walked, kernel)] * 2), SYMBOLS)
    assert found[1:6] == [
        "  difference 1: the walk on the left, the kernel on the right",
        "    ip_rcv+0x0             ip_rcv+0x0",
        "    net_rx_action+0x10  |  dummy_xmit+0x30 [dummy]",
        "    do_softirq+0x20        do_softirq+0x20",
        "                        |  do_softirq+0x20",
    ]
    assert found[6] == "  difference 2: the walk on the left, the kernel on the right"
    assert found[7:] == found[2:6]


def test_difference_rows_have_no_trailing_blanks() -> None:
    difference = Difference(Stack((FUNC, CALLER)), Stack((FUNC,)))
    found = lines(Verify(1, 1, 1, differences=[difference]), SYMBOLS)
    assert found[-1] == "    net_rx_action+0x10  |"


def test_differences_are_only_counted_without_a_symbolizer() -> None:
    difference = Difference(Stack((FUNC,)), Stack((CALLER,)))
    assert len(lines(Verify(1, 1, 1, differences=[difference]), None)) == 1
