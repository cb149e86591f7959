# SPDX-License-Identifier: MIT
"""Plain data: what groups are called, how counts are added."""

from __future__ import annotations

import pytest
from recorded import stack

from kwalk.model.stack import Count, Group


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (Group("pid", 7, "redis"), "redis (7)"),
        (Group("pid", 7, ""), "(no name) (7)"),
        (Group("comm", 0, "redis"), "redis"),
        (Group("comm", 0, ""), "(no name)"),
        (Group("cpu", 0, ""), "cpu 0"),
        (Group("cgroup", 9, "/a"), "/a"),
        (Group("cgroup", 9, ""), "cgroup 9 (no name)"),
    ],
)
def test_group_is_never_shown_as_an_empty_name(group: Group, text: str) -> None:
    assert str(group) == text


def test_counts_are_added_as_calls_where_one_of_them_is() -> None:
    one, group = stack("ip_rcv"), Group("cpu", 1, "")
    assert Count(one, 2, group).plus(Count(one, 3)) == Count(one, 5, group)
    assert Count(one, 2, group).plus(Count(one, 3, None, 30.5)) == Count(one, 5, group, 32.5)
    assert Count(one, 2, group, 4.0).plus(Count(one, 3)) == Count(one, 5, group, 7.0)
