# SPDX-License-Identifier: MIT
"""Plain data: names of groups."""

from __future__ import annotations

import pytest

from kwalk.model.stack import Group


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
