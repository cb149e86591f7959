# SPDX-License-Identifier: MIT
"""A line a stack: short, and different from those of all others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from recorded import stack, stacks

from kwalk.model.stack import Frame, Stack
from kwalk.tui.labels import fit, labels, shorten
from kwalk.tui.look import ASCII, UNICODE

MARKS = UNICODE.marks
ENOUGH = 10_000
READ = ("ip_rcv", "softirq", "send", "sock_write", "vfs_write", "syscall", "entry")
SENT = ("ip_rcv", "softirq", "send", "sys_sendto", "syscall", "entry")


def test_common_frames_are_told_once() -> None:
    made = labels([stack(*READ), stack(*SENT)], 80, 80, MARKS)
    assert made.lines == ["sock_write ← vfs_write", "sys_sendto"]
    assert made.common == "ip_rcv ← softirq ← send ← ⋯ ← syscall ← entry"


def test_common_frames_next_to_the_others_are_kept() -> None:
    made = labels([stack(*READ), stack(*SENT)], 80, 34, MARKS)
    assert made.common == "ip_rcv … send ← ⋯ ← syscall …"


def test_label_of_one_stack_is_its_callers() -> None:
    made = labels([stack(*READ)], 30, 80, MARKS)
    assert (made.lines, made.common) == (["softirq ← send ← sock_write …"], "")
    assert labels([stack("ip_rcv")], 30, 80, MARKS).lines == ["ip_rcv"]
    assert labels([], 30, 80, MARKS) == ([], "")


def test_label_prefers_the_frames_where_stacks_part() -> None:
    long = [f"function_{number}" for number in range(20)]
    made = labels(
        [stack("f", "x", *long, "left", "end"), stack("f", "y", *long, "right", "end")],
        26, 80, MARKS,
    )  # fmt: skip
    assert made.lines == ["x ← function_0 … left", "y ← function_0 … right"]


def test_label_prefers_distinguishing_frames() -> None:
    between = [f"function_{number}" for number in range(20)]
    every = [
        stack("f", "x", *between, "a_caller", "more", "end"),
        stack("f", "x", *between, "b_caller", "more", "end"),
        stack("f", "y", "end"),
    ]
    lines = labels(every, 40, 80, MARKS).lines
    assert lines == [
        "x ← function_0 … a_caller ← more",
        "x ← function_0 … b_caller ← more",
        "y",
    ]


def test_common_frames_have_a_recursion_once() -> None:
    made = labels([stack("f", "a", "a", "b"), stack("f", "a", "b")], 80, 80, MARKS)
    assert made.lines == ["a", "(nothing)"]
    assert made.common == "f ← a ← ⋯ ← b"


def test_label_of_a_stack_that_ends_early_is_nothing() -> None:
    made = labels([stack("f", "a"), stack("f", "a", "b"), stack("f", "a", "c")], 80, 80, MARKS)
    assert made.lines == ["(nothing)", "b", "c"]
    assert made.common == "f ← a ← ⋯"


def test_labels_of_equal_names_have_offsets() -> None:
    def through(offset: int) -> Stack:
        middle = Frame("a", offset, "", 0x1000 + offset)
        ends = stack("f", "entry").frames
        return Stack((1, 2, 3), frames=(ends[0], middle, ends[1]))

    assert labels([through(0x10), through(0x20)], 80, 80, MARKS).lines == ["a+0x10", "a+0x20"]
    other = stack("f", "b", "entry")
    found = labels([through(0x10), through(0x20), other], 80, 80, MARKS).lines
    assert found == ["a+0x10", "a+0x20", "b"]


def test_stacks_that_were_cut_or_come_from_the_kernel_say_so() -> None:
    every = [stack("f", "a"), stack("f", "a", truncated=True), stack("f", "a", fallback=True)]
    assert labels(every, 80, 80, MARKS).lines == ["(nothing)", "[truncated]", "[fallback]"]


def test_modules_are_named() -> None:
    assert labels([stack("f", "go@kvm"), stack("f", "b")], 80, 80, MARKS).lines == ["go [kvm]", "b"]


def test_lines_differ_where_there_is_no_room_for_all_that_parts_them() -> None:
    first = "tcp_established_options"
    every = [
        stack("entry_of_all", first, "called_from_one_place", "end"),
        stack("entry_of_all", first, "called_from_the_other_place", "end"),
        stack("entry_of_all", "something_else", "end"),
    ]
    lines = labels(every, 30, 80, MARKS).lines
    assert len(set(lines)) == 3, lines
    assert all(len(line) <= 40 for line in lines)


@given(stacks())
def test_different_stacks_have_different_lines(found: list[Stack]) -> None:
    lines = labels(found, ENOUGH, ENOUGH, MARKS).lines
    texts: dict[str, set[object]] = {}
    for one, line in zip(found, lines, strict=True):
        # Frames that differ in their address only look the same everywhere.
        seen = tuple((f.name or f.address, f.offset if f.name else 0, f.module) for f in one.frames)
        texts.setdefault(line, set()).add((seen, one.truncated, one.fallback))
    assert all(len(same) == 1 for same in texts.values()), texts


@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=9), st.integers(1, 80))
def test_label_fits_the_width_in_order(names: list[str], width: int) -> None:
    text = fit(names, range(len(names)), width, ASCII.marks)
    if len(" < ".join(names)) <= width:
        assert text == " < ".join(names)
    shown = [part for part in text.replace("..", "<").split("<") if part.strip()]
    rest = iter(names)
    assert all(part.strip() in rest for part in shown)  # in the same order
    assert shown[0].strip() == names[0]
    assert len(text) <= width or len(shown) == 1


def test_long_name_loses_its_middle() -> None:
    assert shorten("tcp_established_options", 11, MARKS) == "tcp_e…tions"
    assert shorten("ip_rcv", 11, MARKS) == "ip_rcv"
    assert len(shorten("tcp_established_options", 10, ASCII.marks)) == 10
