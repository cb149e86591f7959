# SPDX-License-Identifier: MIT
"""A difference as a flame graph: both recordings' calls are in the page, and both ledgers."""

from __future__ import annotations

import html
import math

from flamed import data_of, node_of
from hypothesis import given
from recorded import profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.stack import Count, Group
from kwalk.report.diff.change import By
from kwalk.report.diff.compare import compare
from kwalk.report.diff.flame import render
from kwalk.report.style import ReportOptions


def page(before: Profile, after: Profile, by: By) -> str:
    return "".join(render(compare(before, after, by, ("a.rec", "b.rec")), ReportOptions()))


@given(profiles(), profiles())
def test_flame_graph_has_all_calls_of_both(before: Profile, after: Profile) -> None:
    data = data_of(page(before, after, By.COUNT))
    assert data["change"] is True
    trees = [node_of(data["names"], tree["nodes"], change=True) for tree in data["trees"]]
    for sums, known in (
        (sum(t.before for t in trees), before),
        (sum(t.total for t in trees), after),
    ):
        assert math.isclose(sums, known.calls, rel_tol=1e-6, abs_tol=1e-3)


def test_flame_graph_has_both_ledgers_and_the_change() -> None:
    old = profile(Count(stack("ip_rcv", "a", "main"), 10), recursion=3)
    new = profile(Count(stack("ip_rcv", "b", "main"), 30))
    text = html.unescape(page(old, new, By.COUNT))
    assert "ip_rcv: 13 calls = 10 stacks + 3 lost" in text
    assert "ip_rcv: 30 calls = 30 stacks + 0 lost" in text
    assert "a.rec" in text
    data = data_of(page(old, new, By.COUNT))
    (tree,) = [node_of(data["names"], tree["nodes"], change=True) for tree in data["trees"]]
    main = tree.children["main"]
    found = {node.name: (node.before, node.total) for node in main.children.values()}
    assert found == {"a": (10, 0), "b": (0, 30)}


def test_functions_that_end_no_stack_have_no_calls_of_their_own() -> None:
    """Also where shares, added up, are rounded."""
    rows = [
        Count(stack("ip_rcv", name, "main"), number)
        for name, number in zip("abc", (1, 2, 4), strict=True)
    ]
    for by in By:
        if by != By.RATE:
            data = data_of(page(profile(*rows), profile(*rows[::-1], *rows[1:]), by))
            assert data["trees"][0]["nodes"][:8] == [0, 1, 0, 0, 1, 3, 0, 0]


def test_tasks_without_a_name_are_a_group() -> None:
    for kind in ("comm", "pid"):
        row = profile(Count(stack("ip_rcv", "a"), 10, Group(kind, 0, "")))
        data = data_of(page(row, row, By.COUNT))
        assert [data["names"][tree["group"]] for tree in data["trees"]] == ["(no name)"]


def test_groups_are_trees_of_their_own() -> None:
    old = profile(Count(stack("ip_rcv", "a"), 10, Group("comm", 0, "redis")))
    new = profile(Count(stack("ip_rcv", "a"), 20, Group("comm", 0, "nginx")))
    data = data_of(page(old, new, By.COUNT))
    assert {data["names"][tree["group"]] for tree in data["trees"]} == {"redis", "nginx"}
