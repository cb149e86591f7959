# SPDX-License-Identifier: MIT
"""Choice of the stacks that programs are generated for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import A, B, C, D, Planted

from kwalk.abi import HAS_REGS, NodeKind, Source
from kwalk.arch.hot_frame import HotFrame
from kwalk.hot.paths import (
    MOST_FRAMES,
    MOST_STACKS,
    SHARE,
    Path,
    PathReader,
    hottest,
    merged,
)
from kwalk.transport.context_tree import Tree


@pytest.fixture
def planted() -> Iterator[Planted]:
    planted = Planted(cpus=3)
    yield planted
    planted.close()


def shown(paths: list[Path]) -> list[tuple[tuple[int, ...], dict[int, int], int]]:
    """Return the addresses, from FUNC's caller outwards, the nodes, and the hits."""
    return [(tuple(frame.ip for frame in p.frames), p.nodes, p.hits) for p in paths]


def test_stacks_are_read_from_the_inside(planted: Planted) -> None:
    leaf = planted.walked(A, B, C)
    planted.count(leaf, 3)
    assert shown(PathReader(planted.tree, 3).read()) == [((A, B, C), {0: leaf}, 3)]


def test_frames_have_the_members_of_their_nodes(planted: Planted) -> None:
    first, second = planted.walked(A), planted.walked(A, B)
    planted.write(first, rule=77, delta=48, kind=int(NodeKind.BP))
    planted.write(second, rule=78, kind=int(NodeKind.USER), flags=HAS_REGS)
    planted.count(second, 1)
    (path,) = PathReader(planted.tree, 3).read()
    inner, outer = path.frames
    assert (inner.ip, inner.rule, inner.kind, inner.delta) == (A, 77, NodeKind.BP, 48)
    assert (outer.ip, outer.rule, outer.kind, outer.interrupted) == (B, 78, NodeKind.USER, True)
    assert not inner.interrupted
    assert path.key == ((A, False), (B, True))


def test_equal_stacks_of_several_cpus_are_one(planted: Planted) -> None:
    leaves = {cpu: planted.walked(A, B, cpu=cpu) for cpu in range(3)}
    for cpu, leaf in leaves.items():
        planted.count(leaf, 1 + cpu)
    planted.count(planted.walked(C), 2)
    assert shown(PathReader(planted.tree, 3).read()) == [
        ((A, B), leaves, 6),
        ((C,), {0: planted.walked(C)}, 2),
    ]


def test_stacks_of_nested_hits_are_left_out(planted: Planted) -> None:
    tree = Tree(planted, 1, planted.size, levels=3)  # type: ignore[arg-type]  # on the same nodes
    leaves = [planted.walked(A, B, cpu=part) for part in range(3)]
    for leaf in leaves:
        planted.count(leaf, 1)
    assert [tree.level_of(leaf) for leaf in leaves] == [0, 1, 2]
    assert {tree.cpu_of(leaf) for leaf in leaves} == {0}
    assert shown(PathReader(tree, 3).read()) == [((A, B), {0: leaves[0]}, 1)]
    tree.close()


def test_interrupted_frames_are_not_called_ones(planted: Planted) -> None:
    leaves = [planted.walked(A, B, cpu=cpu) for cpu in (0, 1)]
    planted.write(leaves[1], flags=HAS_REGS)
    for leaf in leaves:
        planted.count(leaf, 1)
    assert len(PathReader(planted.tree, 3).read()) == 2


def test_hits_are_those_since_the_last_time(planted: Planted) -> None:
    reader = PathReader(planted.tree, 3)
    hot, cold = planted.walked(A), planted.walked(B)
    planted.count(hot, 10)
    planted.count(cold, 5)
    assert [hits for *_, hits in shown(reader.read())] == [10, 5]
    planted.count(cold, 2)
    assert shown(reader.read()) == [((B,), {0: cold}, 2)]
    assert reader.total == 2
    planted.count(planted.walked(A, cpu=1), 1)
    assert shown(reader.read())[0] == ((A,), {0: hot, 1: planted.walked(A, cpu=1)}, 1)


def test_groups_count_for_their_stack(planted: Planted) -> None:
    leaf = planted.walked(A, B)
    for process, count in ((5, 3), (6, 4)):
        planted.count(planted.process(leaf, process), count)
    planted.count(leaf, 1)
    assert shown(PathReader(planted.tree, 3).read()) == [((A, B), {0: leaf}, 8)]


@pytest.mark.parametrize("source", [Source.MODULE, Source.BPF, Source.ONCE])
def test_stacks_with_code_that_may_go_are_left_out(planted: Planted, source: Source) -> None:
    middle, leaf = planted.walked(A, B), planted.walked(A, B, C)
    planted.write(middle, source=int(source))
    planted.count(leaf, 5)
    planted.count(planted.walked(A), 1)
    assert shown(PathReader(planted.tree, 3).read()) == [((A,), {0: planted.walked(A)}, 1)]


def test_stacks_of_the_kernels_unwinder_are_left_out(planted: Planted) -> None:
    planted.count(planted.kernels(A, B), 5)
    assert PathReader(planted.tree, 3).read() == []


@pytest.mark.parametrize("kind", [NodeKind.STALE, NodeKind.CUT, NodeKind.NONE, NodeKind.FUNCTION])
def test_stacks_without_a_rule_are_left_out(planted: Planted, kind: NodeKind) -> None:
    leaf = planted.walked(A, B)
    planted.count(leaf, 5)
    planted.write(leaf, kind=int(kind))
    assert PathReader(planted.tree, 3).read() == []


def test_truncated_stacks_are_left_out(planted: Planted) -> None:
    planted.count(planted.walked(A, cut=D), cut=4)
    planted.count(planted.walked(A, B, C), ended=1, cut=7)
    assert [hits for *_, hits in shown(PathReader(planted.tree, 3).read())] == [1]


def test_hits_without_a_caller_are_left_out(planted: Planted) -> None:
    planted.count(planted.root(), 4)
    assert PathReader(planted.tree, 3).read() == []


def path(hits: int, *addresses: int) -> Path:
    key = tuple((ip, False) for ip in addresses)
    return Path(key, tuple(HotFrame(ip) for ip in addresses), {0: 64}, hits)


def chosen_of(paths: list[Path], others: int = 0) -> list[Path]:
    return hottest(paths, sum(path.hits for path in paths) + others)


def test_hottest_stacks_make_their_share() -> None:
    paths = [path(90, A), path(4, B), path(1, C), path(5, D)]
    paths.sort(key=lambda p: -p.hits)
    assert [p.hits for p in chosen_of(paths)] == [90, 5]
    assert SHARE == 0.95
    assert [p.hits for p in chosen_of([path(94, A), path(5, B), path(1, C)])] == [94, 5]
    assert chosen_of([]) == chosen_of([path(0, A)]) == []


def test_hits_that_no_program_can_follow_are_a_part_of_the_whole() -> None:
    paths = [path(60, A), path(30, B), path(5, C)]
    assert [p.hits for p in chosen_of(paths)] == [60, 30, 5]
    assert [p.hits for p in chosen_of([*paths, path(1, D)])] == [60, 30, 5]
    assert [p.hits for p in chosen_of([*paths, path(1, D)], others=4)] == [60, 30, 5]
    assert [p.hits for p in chosen_of([*paths, path(1, D)], others=40)] == [60, 30, 5, 1]


def test_leaves_with_the_most_new_hits_are_looked_at(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kwalk.hot.paths._MOST_LEAVES", 2)
    for number, address in enumerate((A, B, C), 1):
        planted.count(planted.walked(address), number)
    reader = PathReader(planted.tree, 3)
    assert [hits for *_, hits in shown(reader.read())] == [3, 2]
    assert reader.total == 6


@given(st.lists(st.integers(0, 100), max_size=50))
def test_hottest_stacks_are_no_more_than_needed(hits: list[int]) -> None:
    hits.sort(reverse=True)
    chosen = [p.hits for p in chosen_of([path(n, A + k) for k, n in enumerate(hits)])]
    assert chosen == hits[: len(chosen)]
    assert len(chosen) <= MOST_STACKS
    assert 0 not in chosen
    if chosen:
        assert sum(chosen[:-1]) < SHARE * sum(hits)
    if len(chosen) < MOST_STACKS:
        assert sum(chosen) >= SHARE * sum(hits)


def test_hottest_stacks_have_limits() -> None:
    assert MOST_STACKS == 32
    many = [path(10, A + k) for k in range(100)]
    assert len(chosen_of(many)) == MOST_STACKS
    # Each has 1,000 frames.
    deep = [path(10, *range(1000 * k, 1000 * (k + 1))) for k in range(10)]
    assert len(chosen_of(deep)) == MOST_FRAMES // 1000 == 4


def tree(frame: HotFrame) -> object:
    return frame.ip, frame.leaf, frame.weight, [tree(caller) for caller in frame.callers]


def test_merged_stacks_share_their_inner_frames() -> None:
    paths = [path(5, A, B), path(4, A, C), path(3, A), path(9, D)]
    numbers = {p.key: 10 + number for number, p in enumerate(paths)}
    assert tree(merged(paths, numbers)) == (
        0, None, 21, [
            (A, 12, 12, [(B, 10, 5, []), (C, 11, 4, [])]),
            (D, 13, 9, []),
        ],
    )  # fmt: skip


def test_merged_stacks_begin_with_the_hottest() -> None:
    paths = [path(5, A, B), path(6, C, B), path(4, C, A), path(9, C, D)]
    root = merged(paths, {p.key: number for number, p in enumerate(paths)})
    assert [frame.ip for frame in root.callers] == [C, A]
    assert [frame.ip for frame in root.callers[0].callers] == [D, B, A]


def test_merged_frames_have_all_members() -> None:
    one = HotFrame(A, 7, NodeKind.BP, 48, False)
    two = HotFrame(A, 8, NodeKind.PLAIN, 16, True)
    paths = [Path(((A, False),), (one,), {}, 2), Path(((A, True),), (two,), {}, 1)]
    first, second = merged(paths, {p.key: n for n, p in enumerate(paths)}).callers
    for found, frame in ((first, one), (second, two)):
        assert (found.ip, found.rule, found.kind) == (frame.ip, frame.rule, frame.kind)
        assert (found.delta, found.interrupted) == (frame.delta, frame.interrupted)
        assert found is not frame
    assert (first.leaf, second.leaf) == (0, 1)


def test_all_frames_are_yielded() -> None:
    paths = [path(5, A, B), path(6, C, B), path(4, C, A)]
    root = merged(paths, {p.key: 0 for p in paths})
    assert sorted(frame.ip for frame in root.all()) == sorted([0, A, B, C, B, A])
