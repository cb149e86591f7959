# SPDX-License-Identifier: MIT
"""Outlines of trees: where lines are indented, and that each node is in one of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kwalk.report.outline import Line, outline, paths_to_top

Tree = dict[str, Any]
EMPTY: Tree = {}
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.just(EMPTY), lambda below: st.dictionaries(st.sampled_from("abcdx"), below, max_size=4)
)
Named = tuple[str, Tree]


def below(node: Named) -> list[Named]:
    # One object for each node, for they are told apart by identity.
    kept: list[Named] = node[1].setdefault(
        "", [(name, tree) for name, tree in node[1].items() if name]
    )
    return kept


def nodes(node: Named) -> list[Named]:
    return [node, *(found for child in below(node) for found in nodes(child))]


def drawn(tree: Tree, **more: Any) -> list[str]:
    root: Named = ("", tree)
    lines: list[Line[Named]] = list(outline(root, below, lambda node: node[0] != "x", **more))
    return [line.lead + (line.node[0] if line.node else f"({len(line.hidden)})") for line in lines]


def test_branches_alone_are_indented() -> None:
    assert drawn({"a": {"b": {"c": {}, "d": {"a": {}}}}}) == ["a", "b", "├─c", "└─d", "  a"]
    assert drawn({"a": {"b": {"c": {"a": {}, "b": {}}, "d": {}}}}) == [
        "a",
        "b",
        "├─c",
        "│ ├─a",
        "│ └─b",
        "└─d",
    ]
    assert drawn({"a": {}, "b": {"c": {}}}) == ["a", "b", "c"]


def test_hidden_branches_stand_where_they_part_or_behind_the_chain() -> None:
    tree: Tree = {"a": {"x": {}, "b": {"x": {}, "c": {}}}}
    assert drawn(tree) == ["a", "├─(1)", "b", "├─(1)", "c"]
    assert drawn(tree, matters=lambda hidden: False) == ["a", "b", "c", "└─(2)"]
    assert drawn({"x": {}, "a": {}}) == ["a", "(1)"]


@given(TREES, st.booleans())
def test_nodes_are_each_in_a_line_or_hidden(tree: Tree, matters: bool) -> None:
    top = "", tree
    shown, hidden = [], []
    for line in outline(top, below, lambda node: node[0] != "x", lambda _: matters):
        shown += [line.node] if line.node else []
        hidden += [found for branch in line.hidden for found in nodes(branch)]
        if line.above:
            assert line.node in below(line.above)
    assert not any(node[0] == "x" for node in shown)
    assert sorted(map(id, [top, *shown, *hidden])) == sorted(map(id, nodes(top)))


@given(TREES, st.integers(1, 5))
def test_paths_to_top_mark_the_heaviest_with_all_above(tree: Tree, most: int) -> None:
    top = "", tree
    weights = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0}
    marked = paths_to_top(top, below, lambda node: weights.get(node[0], 0.0), most)
    everything = nodes(top)[1:]
    heavy = sorted((weights.get(name, 0.0) for name, _ in everything), reverse=True)
    # A marked node that has no marked one below is one of those that were looked for.
    for node in everything:
        if id(node) in marked and not any(id(child) in marked for child in below(node)):
            assert weights.get(node[0], 0.0) >= min(heavy[:most])
        for child in below(node):
            assert id(child) not in marked or id(node) in marked
    assert bool(marked) == any(heavy)
