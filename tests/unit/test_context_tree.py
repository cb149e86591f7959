# SPDX-License-Identifier: MIT
"""The tree that programs grow: roots, hits, and the nodes in which something was counted."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import FUNC, A, B, Planted

from kwalk.abi import NO_ADDRESS, NodeKind
from kwalk.transport.context_tree import NODE_BYTES, PER_CPU, ContextNode, reserved, size_for

_RULE = 20  # where kw_chance() reads
U64 = st.integers(0, (1 << 64) - 1)


@given(st.integers(1, 1 << 24), st.integers(1, 512))
def test_tree_size_is_the_least_power_of_two_with_room(nodes: int, cpus: int) -> None:
    size = size_for(nodes, cpus)
    assert size & (size - 1) == 0
    assert size >= nodes + reserved(cpus) > size // 2


def test_roots_are_two_per_cpu_at_the_function(planted: Planted) -> None:
    for cpu in range(planted.cpus):
        walked, kernel = planted.root(cpu), planted.root(cpu) + NODE_BYTES
        for root in (walked, kernel):
            assert planted.tree.node(root) == ContextNode(FUNC, bytes(16), 0, 0, 0, NodeKind.ROOT)
        assert not planted.tree.is_kernels(walked)
        assert planted.tree.is_kernels(kernel)


def test_node_0_has_no_address(planted: Planted) -> None:
    # Programs look for hints there, where a node has no child yet.
    assert planted.tree.node(0).ip == NO_ADDRESS


def test_frame_nodes_follow_the_per_cpu_ones(planted: Planted) -> None:
    assert planted.tree.used == 0
    first = planted.walked(A)
    assert first == (1 + planted.cpus) * PER_CPU * NODE_BYTES
    assert planted.tree.used == 1
    planted.walked(A, B)
    assert planted.tree.used == 2


def test_programs_that_ask_for_more_nodes_than_there_are_do_not_make_more(
    planted: Planted,
) -> None:
    planted.used = 1 << 40
    assert planted.tree.used == planted.size - reserved(planted.cpus)
    assert planted.tree.counted() == []


@given(st.lists(U64, min_size=2, max_size=2).filter(lambda hits: sum(hits) < 1 << 64))
def test_hits_are_those_of_all_cpus(hits: list[int]) -> None:
    planted = Planted()
    for cpu, number in enumerate(hits):
        planted.hit(number, cpu)
    assert planted.tree.hits() == sum(hits)
    planted.close()


def test_node_has_the_members_that_programs_wrote(planted: Planted) -> None:
    leaf = planted.walked(A)
    planted.count(leaf, cut=3)
    planted.write(
        leaf, count=1 << 40, next=77, sequence=88, bp_at=-8, source=1, depth=9, flags=3, group=99
    )
    node = planted.tree.node(leaf)
    assert (node.ip, node.parent, node.kind) == (A, planted.root(), NodeKind.PLAIN)
    assert (node.ended, node.cut) == (1 << 40, 3)
    process = planted.tree.node(planted.process(planted.walked(B), 1234, b"redis"))
    assert (process.ip, process.value, process.kind) == (
        NO_ADDRESS | 1234,
        b"redis".ljust(16, b"\0"),
        12,
    )


def test_counted_returns_only_nodes_with_counts(planted: Planted) -> None:
    once, cut, never = planted.walked(A), planted.walked(A, B, cpu=1), planted.walked(B)
    planted.count(once, ended=5)
    planted.count(cut, cut=2)
    found = dict(planted.tree.counted())
    assert set(found) == {once, cut}
    assert (found[once].ended, found[once].cut) == (5, 0)
    assert (found[cut].ended, found[cut].cut) == (0, 2)
    assert never not in found


def test_stacks_that_end_at_a_root_are_told(planted: Planted) -> None:
    roots = [planted.root(0), planted.root(1), planted.root(1) + NODE_BYTES]
    for number, root in enumerate(roots, 1):
        planted.count(root, ended=number)
    assert [(offset, node.ended) for offset, node in planted.tree.counted()] == [
        (root, number) for number, root in enumerate(roots, 1)
    ]


@given(st.binary(min_size=2 * NODE_BYTES, max_size=2 * NODE_BYTES))
def test_walk_state_is_not_taken_for_counts(state: bytes) -> None:
    planted = Planted()
    for cpu in range(planted.cpus):
        at = planted.root(cpu) + 2 * NODE_BYTES
        planted.memory[at : at + len(state)] = state
    planted.count(planted.walked(A), ended=1)
    assert [node.ip for _, node in planted.tree.counted()] == [A]
    planted.close()


def test_node_copied_half_written_is_read_again(planted: Planted) -> None:
    leaf = planted.walked(A)
    planted.count(leaf, ended=4)
    # The copy was made while a program was at it.
    whole = planted.memory[:]
    half = bytearray(whole)
    struct.pack_into("<B", half, leaf + 56, NodeKind.NONE)
    struct.pack_into("<Q", half, leaf, 0)
    tree = planted.tree
    looked: list[int] = []

    class Memory(bytearray):
        """Whole for whoever looks at a node of its own."""

        def __getitem__(self, part: Any) -> Any:
            looked.append(part.stop)
            return bytes(half[part])

    old, tree._memory = tree._memory, Memory(whole)  # type: ignore[assignment]
    try:
        ((offset, node),) = tree.counted()
    finally:
        tree._memory = old
    assert looked
    assert (offset, node.ip, node.ended, node.kind) == (leaf, A, 4, NodeKind.PLAIN)


@pytest.mark.parametrize("kind", [NodeKind.STALE, NodeKind.CUT, NodeKind.GROUP, NodeKind.KERNEL])
def test_counts_of_every_kind_of_node_are_told(planted: Planted, kind: NodeKind) -> None:
    offset = planted.take(planted.root(), A, kind)
    planted.count(offset, ended=1)
    assert [node.kind for _, node in planted.tree.counted()] == [kind]


def test_plant_starts_a_tree_for_another_function(planted: Planted) -> None:
    tree = planted.plant(FUNC + 0x1F)
    assert tree.node(planted.root()).ip == FUNC + 0x1F
    tree.close()


@pytest.mark.parametrize("chance", [0, 1e-5, 0.01, 1 / 3, 0.5, 1])
def test_sampling_chance_is_written_to_node_0(planted: Planted, chance: float) -> None:
    planted.tree.sample(chance)
    below = struct.unpack_from("<I", planted.memory, _RULE)[0]
    assert (below + 1) / (1 << 32) == pytest.approx(chance, abs=2 / (1 << 32))
    assert planted.tree.node(0).ip == NO_ADDRESS


@pytest.mark.parametrize(
    ("chance", "below"), [(0.25, (1 << 30) - 1), (0.5, (1 << 31) - 1), (1.0, (1 << 32) - 1)]
)
def test_sampling_chance_is_the_highest_random_number_taken(
    planted: Planted, chance: float, below: int
) -> None:
    planted.tree.sample(chance)  # kw_sampled_out() in bpf/tree.bpf.h skips what is above
    assert struct.unpack_from("<I", planted.memory, _RULE)[0] == below


def test_calls_left_alone_are_hits_that_the_second_root_counts(planted: Planted) -> None:
    planted.hit(1000, cpu=0)
    planted.hit(1 << 40, cpu=1)
    planted.sample_out(990, cpu=0)
    planted.sample_out(7 << 32, cpu=1)
    assert planted.tree.hits() == 1000 + (1 << 40)
    assert planted.tree.sampled_out() == 990 + (7 << 32)
