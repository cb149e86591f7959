# SPDX-License-Identifier: MIT
"""Counts of a program that counts: every one is told once, with its stack and its process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from engine import Engine, words
from hypothesis import given
from hypothesis import strategies as st
from planted import FUNC, JUMPED_MARK, A, B, C, D, Planted

from kwalk.abi import Method, NodeKind, Output, Per
from kwalk.decode.contexts import Contexts
from kwalk.decode.counts import StackCounts
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.engine.capture import Capture
from kwalk.kernel import cgroups
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Group
from kwalk.options.probe import ProbeOptions

REDIS, NGINX = Group("pid", 7, "redis"), Group("pid", 8, "nginx")


def counted(**options: Any) -> tuple[Sequence[Count], Summary]:
    with Capture("ip_rcv", ProbeOptions(output=Output.COUNT, **options)) as capture:
        capture.stop()
        counts = capture.counts()
        return counts, capture.summary()


def plain(counts: Sequence[Count]) -> list[tuple[tuple[int, ...], int, Group | None]]:
    return [(count.stack.addresses, count.count, count.group) for count in counts]


def test_nodes_of_several_cpus_are_added_up_and_the_rarest_comes_first(engine: Engine) -> None:
    tree = engine.planted
    tree.count(tree.walked(A, B, cpu=0), ended=5)
    tree.count(tree.walked(A, B, cpu=1), ended=6)
    tree.count(tree.walked(A, cpu=1), ended=3)
    tree.hit(14)
    counts, summary = counted()
    assert plain(counts) == [((FUNC, A), 3, None), ((FUNC, A, B), 11, None)]
    assert (summary.ledger.hits, summary.ledger.recorded, summary.ledger.balance) == (14, 14, 0)
    assert (summary.ledger.truncated, summary.ledger.fallback, summary.ledger.lost) == (0, 0, {})


def scaled(counts: Sequence[Count]) -> list[tuple[tuple[int, ...], int, float | None]]:
    return [
        (count.stack.addresses, count.count, count.scaled and round(count.scaled, 6))
        for count in counts
    ]


def test_counts_are_not_scaled_where_all_calls_are_taken(engine: Engine) -> None:
    engine.planted.count(engine.planted.walked(A), ended=5)
    assert scaled(counted()[0]) == [((FUNC, A), 5, None)]


def test_weights_are_those_of_the_time_of_each_call(engine: Engine) -> None:
    tree = engine.planted
    # Of A all were taken as long as there was little to do, of B later one in a hundred.
    tree.count(tree.walked(A, cpu=0), ended=60)
    tree.count(tree.walked(A, cpu=1), ended=40)
    tree.count(tree.walked(A, B), ended=99, each=100)
    tree.hit(10_000)
    tree.sample_out(9_801)
    counts, summary = counted(chance=1.0)
    # 10,000 calls is known, and what they stand for adds up to exactly that here.
    assert scaled(counts) == [((FUNC, A), 100, 100), ((FUNC, A, B), 99, 9900)]
    assert (summary.ledger.recorded, summary.ledger.not_wanted) == (199, {"sampled_out": 9801})


def test_scaled_counts_add_up_to_the_hits(engine: Engine) -> None:
    tree = engine.planted
    tree.count(tree.walked(A), ended=3, each=101)
    tree.count(tree.walked(A, B), ended=1, cut=2, each=101)
    tree.hit(546)  # chance would have it that more than usual were taken
    tree.sample_out(540)
    counts, _ = counted(chance=1.0)
    assert scaled(counts) == [((FUNC, A, B), 1, 91), ((FUNC, A, B), 2, 182), ((FUNC, A), 3, 273)]


@pytest.mark.parametrize("out", [9, 400])  # 99 of A were left alone, more or less
def test_scaled_counts_leave_calls_taken_for_certain(engine: Engine, out: int) -> None:
    tree = engine.planted
    tree.count(tree.walked(A), ended=1, each=100)
    tree.count(tree.walked(A, B), ended=500)
    tree.hit(501 + out)
    tree.sample_out(out)
    counts, _ = counted(chance=1.0)
    assert sorted(scaled(counts)) == [((FUNC, A), 1, 1 + out), ((FUNC, A, B), 500, 500)]


def test_scaled_counts_do_not_cover_lost_calls(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(FUNC, B)}
    engine.planted.count_stack(1000, stack_id=5)
    engine.planted.count_stack(250, each=100, stack_id=6)
    engine.planted.hit(51_000)
    engine.planted.sample_out(49_500)
    engine.count(51_000, lost_eexist=250)
    counts, summary = counted(method=Method.HELPER, chance=1.0)
    assert scaled(counts) == [((FUNC, A), 1000, 1000), ((FUNC, B), 250, 25_000)]
    assert summary.ledger.balance == 0


def test_scaling_with_no_call_taken_is_empty(engine: Engine) -> None:
    engine.planted.hit(540)
    engine.planted.sample_out(540)
    counts, summary = counted(chance=1.0)
    assert counts == []
    assert summary.ledger.balance == 0


def test_helper_counts_are_scaled(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(FUNC, B)}
    engine.planted.count_stack(10, cpu=0, each=1, stack_id=5)
    engine.planted.count_stack(10, cpu=1, each=3, stack_id=5)
    engine.planted.count_stack(2, each=80, stack_id=6)
    engine.planted.hit(200)
    engine.planted.sample_out(178)
    counts, _ = counted(method=Method.HELPER, chance=1.0)
    assert scaled(counts) == [((FUNC, A), 20, 40), ((FUNC, B), 2, 160)]


def test_duplicate_nodes_of_a_frame_are_added_up(engine: Engine) -> None:
    tree = engine.planted
    for number in (1, 2):  # the first one stayed hidden: kw_link() gave up
        tree.count(tree.take(tree.root(), A), ended=number)
    assert plain(counted()[0]) == [((FUNC, A), 3, None)]


def test_cut_stack_differs_from_one_that_ends_at_the_node(engine: Engine) -> None:
    tree = engine.planted
    tree.count(tree.walked(A), ended=1, cut=3)  # there was no room for a node
    tree.count(tree.walked(A, cut=B), cut=2)  # nor for a frame
    tree.hit(6)
    counts, summary = counted()
    assert plain(counts) == [((FUNC, A), 1, None), ((FUNC, A), 5, None)]
    assert [count.stack.truncated for count in counts] == [False, True]
    assert (summary.ledger.recorded, summary.ledger.truncated) == (6, 5)
    assert summary.ledger.balance == 0


def test_kernels_stacks_are_fallbacks_and_lost_without_the_function(
    engine: Engine,
) -> None:
    tree = engine.planted
    tree.count(tree.kernels(D, FUNC + 5, A), ended=2)
    tree.count(tree.kernels(D, C, mark=A), ended=4, cut=1)
    tree.count(tree.kernels(D, C, A, mark=A & JUMPED_MARK), cut=8)
    tree.hit(15)
    counts, summary = counted()
    # Cut off before the function, the stack is known to be one of the function's all the same.
    assert plain(counts) == [((FUNC,), 1, None), ((FUNC, A), 2, None), ((FUNC, A), 8, None)]
    ledger = summary.ledger
    assert (ledger.recorded, ledger.fallback, ledger.truncated) == (11, 11, 9)
    assert ledger.lost == {"no_entry_frame": 4}
    assert ledger.balance == 0


def test_processes_are_told_apart_where_they_were_counted_apart(engine: Engine) -> None:
    tree = engine.planted
    for cpu in (0, 1):
        leaf = tree.walked(A, cpu=cpu)
        tree.count(tree.process(leaf, 7, b"redis"), ended=2)
        tree.count(tree.process(leaf, 8, b"nginx"), ended=1, cut=10)
    tree.count(tree.walked(B), ended=1)  # there was no room for a process
    counts, summary = counted(per=Per.PID)
    assert plain(counts) == [
        ((FUNC, B), 1, None),
        ((FUNC, A), 2, NGINX),
        ((FUNC, A), 4, REDIS),
        ((FUNC, A), 20, NGINX),
    ]
    assert (summary.ledger.recorded, summary.ledger.truncated) == (27, 20)


def test_process_that_changed_its_name_is_one_group(engine: Engine) -> None:
    tree = engine.planted
    names = (b"sh", b"redis", b"redis-server")
    for number, name in enumerate(names):
        leaf = tree.walked(*(A, B)[: 1 + number % 2], cpu=number // 2)
        tree.count(tree.process(leaf, 7, name), ended=1)
    sh = Group("pid", 7, "sh")
    assert plain(counted(per=Per.PID)[0]) == [((FUNC, A, B), 1, sh), ((FUNC, A), 2, sh)]


PATHS = st.lists(st.sampled_from((A, B, C)), max_size=3).map(tuple)
COUNTED = st.lists(
    st.tuples(
        *(PATHS, st.integers(0, 1), st.sampled_from((0, 7, 8))),
        *(st.integers(0, 300), st.integers(0, 300)),
    ),
    max_size=20,
)


@given(COUNTED)
def test_tree_counts_are_read_once_each(
    events: list[tuple[tuple[int, ...], int, int, int, int]],
) -> None:
    planted = Planted()
    expected: Counter[tuple[object, ...]] = Counter()
    for path, cpu, tgid, ended, cut in events:
        leaf = planted.walked(*path, cpu=cpu)
        planted.count(planted.process(leaf, tgid) if tgid else leaf, ended, cut)
        expected[(FUNC, *path), tgid, False] += ended
        expected[(FUNC, *path), tgid, True] += cut
    table = StackTable(FUNC, 127, insert_caller=False)
    probe: Any = SimpleNamespace(method=Method.MANUAL, tree=planted.tree, config={"sampled": 0})
    maps: Any = None
    groups = Groups(Per.PID)
    counts, lost = StackCounts(
        probe, Contexts(planted.tree, table, groups), table, maps, groups
    ).read()
    found = {
        (c.stack.addresses, c.group.number if c.group else 0, c.stack.truncated): c.count
        for c in counts
    }
    assert found == {key: number for key, number in expected.items() if number}
    assert len(found) == len(counts)
    assert [c.count for c in counts] == sorted(c.count for c in counts)
    assert lost == {}
    planted.close()


def test_counts_read_twice_count_losses_once(engine: Engine) -> None:
    tree = engine.planted
    with Capture("ip_rcv", ProbeOptions(output=Output.COUNT)) as capture:
        tree.count(tree.walked(A), ended=1)
        tree.count(tree.kernels(D), ended=1)
        first = capture.counts()
        tree.count(tree.walked(A), ended=4)
        tree.count(tree.walked(B), ended=1)
        second = capture.counts()
        tree.hit(7)
        ledger = capture.summary().ledger
    assert plain(first) == [((FUNC, A), 1, None)]
    assert plain(second) == [((FUNC, B), 1, None), ((FUNC, A), 5, None)]
    assert second[1].stack is first[0].stack
    assert (ledger.recorded, ledger.lost, ledger.balance) == (6, {"no_entry_frame": 1}, 0)


def test_helper_counts_are_those_of_its_maps(engine: Engine) -> None:
    engine.stacks = {5: words(D, FUNC + 5, A), 6: words(FUNC, A, B), 7: words(D)}
    engine.planted.count_stack(3, cpu=0, stack_id=5)
    engine.planted.count_stack(4, cpu=1, stack_id=5)
    engine.planted.count_stack(1, cpu=1, stack_id=6)
    engine.planted.count_stack(2, stack_id=7)
    engine.planted.count_stack(9, stack_id=8)
    engine.count(20, lost_map_full=1)
    counts, summary = counted(method=Method.HELPER)
    assert plain(counts) == [((FUNC, A, B), 1, None), ((FUNC, A), 7, None)]
    assert summary.ledger.lost == {"no_entry_frame": 2, "stack_gone": 9, "map_full": 1}
    assert (summary.ledger.recorded, summary.ledger.balance) == (8, 0)
    assert summary.tree is None


def test_helper_stack_under_two_ids_is_added_up(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(D, FUNC + 5, A)}
    engine.planted.count_stack(1, stack_id=5)
    engine.planted.count_stack(2, stack_id=6)
    assert plain(counted(method=Method.HELPER)[0]) == [((FUNC, A), 3, None)]


@pytest.mark.parametrize("per", [Per.PID, Per.NOTHING])
def test_helper_groups_by_process_where_asked(engine: Engine, per: Per) -> None:
    engine.stacks = {5: words(FUNC, A)}
    engine.planted.count_stack(1, cpu=1, stack_id=5, per=per, tgid=7, comm=b"redis")
    engine.planted.count_stack(2, cpu=0, stack_id=5, per=per, tgid=8, comm=b"nginx")
    counts, _ = counted(method=Method.HELPER, per=per)
    expected = [((FUNC, A), 1, REDIS), ((FUNC, A), 2, NGINX)]
    assert plain(counts) == (expected if per else [((FUNC, A), 3, None)])


def number(value: int) -> bytes:
    return value.to_bytes(16, "little")


@pytest.mark.parametrize(
    ("per", "cgroup", "group", "text"),
    [
        (Per.COMM, 0, Group("comm", 0, "redis"), "redis"),
        (Per.CPU, 0, Group("cpu", 1, ""), "cpu 1"),
        (Per.CGROUP, 0x1234, Group("cgroup", 0x1234, "/web/a"), "/web/a"),
        (Per.CGROUP, 0x1235, Group("cgroup", 0x1235, "cgroup 4661"), "cgroup 4661"),
    ],
)
def test_names_cpus_and_cgroups_are_told_apart(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    per: Per,
    cgroup: int,
    group: Group,
    text: str,
) -> None:
    monkeypatch.setattr(cgroups, "paths", lambda: {0x1234: "/web/a"})
    tree = engine.planted
    for cpu, each in ((1 if per == Per.CPU else 0, 1), (1, 2)):
        leaf = tree.walked(A, cpu=cpu)
        tree.count(tree.group(leaf, per, cgroup=cgroup), ended=each)
    tree.count(tree.walked(A), ended=9)
    engine.count(12)
    counts, summary = counted(per=per)
    assert plain(counts) == [((FUNC, A), 3, group), ((FUNC, A), 9, None)]
    assert summary.ledger.balance == 0
    assert str(group) == text
    engine.stacks = {5: words(FUNC, A)}
    tree.count_stack(4, stack_id=5, per=per, cpu=1, cgroup=cgroup)
    assert plain(counted(method=Method.HELPER, per=per)[0]) == [((FUNC, A), 4, group)]


def test_cgroup_keeps_the_path_that_it_was_shown_by(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {7: "/old"}
    monkeypatch.setattr(cgroups, "paths", lambda: dict(found))
    groups = Groups(Per.CGROUP)
    assert groups.group(0, number(7)) == Group("cgroup", 7, "/old")
    found |= {7: "/renamed", 8: "/new"}
    groups.begin()
    assert groups.group(0, number(8)) == Group("cgroup", 8, "/new")
    assert groups.group(0, number(7)) == Group("cgroup", 7, "/old")


def test_helper_stack_of_a_jumped_function_uses_the_caller_in_the_tree(engine: Engine) -> None:
    engine.stacks = {5: words(D, C, A, B)}
    caller = engine.planted.child(engine.planted.root(), A, NodeKind.KERNEL)
    engine.planted.count_stack(3, stack_id=5, node=caller)
    engine.planted.count_stack(4, stack_id=5, node=0)
    counts, summary = counted(method=Method.HELPER)
    assert plain(counts) == [((FUNC, A, B), 3, None)]
    assert summary.ledger.lost == {"no_entry_frame": 4}
