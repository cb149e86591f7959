# SPDX-License-Identifier: MIT
"""The calling-context tree: room, writers on several CPUs, sampling, groups."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import FP_NEW, V6_1, V6_12, Layout
from loaded import Loaded
from objects import TEXT
from worlds import RANDOMS, Hit, Reader, World, tasks

from kwalk.abi import WEIGHT_ONE, NodeKind
from kwalk.transport.context_tree import NODE_BYTES, reserved, size_for

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12, FP_NEW], ids=repr)


def whole(
    world: World, counted: Counter[tuple[int, ...]]
) -> dict[tuple[tuple[int, ...], str], int]:
    return {((world.func.start, *stack), "whole"): n for stack, n in counted.items()}


@layouts
@given(random=RANDOMS, nodes=st.integers(1, 30))
def test_tree_without_room_cuts_stacks_and_loses_none(
    layout: Layout, random: Random, nodes: int
) -> None:
    world = World(layout, random)
    stacks = tasks(world, 5)
    loaded = Loaded(world.kernel, func=world.func.start, nodes=nodes)
    size = size_for(nodes, 2)
    room = size - reserved(2) if random.random() < 0.5 else nodes
    loaded.set_config(nodes=room + reserved(2))
    hits = 0
    for _ in range(12):
        random.choice(stacks).run(loaded, random.randint(0, 1))
        hits += 1
    found = Reader(loaded).counts()
    assert sum(found.values()) == hits == loaded.tree.hits()
    all_frames = [(world.func.start, *callers) for _, callers, _ in stacks]
    for stack, how in found:
        if how == "whole":
            assert stack in all_frames
        else:
            assert how == "truncated"
            assert any(frames[: len(stack)] == stack for frames in all_frames)
    cut = sum(n for (_, how), n in found.items() if how != "whole")
    assert loaded.counters().get("pool_full", 0) == cut
    assert loaded.tree.used <= room
    assert cut == 0 or loaded.tree.used == room  # not before it is full
    loaded.close()


@layouts
@given(random=RANDOMS, at=st.integers(0, 120), nodes=st.sampled_from([200, 12]))
def test_tree_has_a_writer_on_each_cpu(layout: Layout, random: Random, at: int, nodes: int) -> None:
    """Another CPU adds its nodes between any two loads of this one."""
    world = World(layout, random)
    stacks = tasks(world, 4)
    loaded = Loaded(world.kernel, func=world.func.start, nodes=nodes)
    expected: Counter[tuple[int, ...]] = Counter()

    def hit(cpu: int) -> None:
        chosen = random.choice(stacks)
        expected[chosen.callers] += 1
        chosen.run(loaded, cpu)

    with loaded.pause(at, lambda: repeat(hit, 1)):
        hit(0)
    found = Reader(loaded).counts()
    assert sum(found.values()) == expected.total() == loaded.tree.hits()
    assert not any(loaded.beyond())  # nodes that do not exist
    if nodes == 200:
        assert found == whole(world, expected)
        # All nodes are found again: another hit adds none.
        for _ in range(2):
            used = loaded.tree.used
            for cpu in (0, 1):
                for each in stacks:
                    expected[each.callers] += 1
                    each.run(loaded, cpu)
        assert loaded.tree.used == used
        assert Reader(loaded).counts() == whole(world, expected)
    loaded.close()


def test_tree_links_a_node_though_others_get_in_the_way() -> None:
    """Another CPU puts a node into the same bucket at any load or atomic operation of this one."""
    world = World(V6_12, Random(4), modules=0, programs=0, plain=True)
    (only,) = tasks(world, 1, 0)
    moments = 25
    for at in range(moments):
        loaded = Loaded(world.kernel, many=1, special=1, nodes=300)
        ours, theirs = (same_bucket(root, 300, 4) for root in (512, 1024))

        def hit(function: int, cpu: int, loaded: Loaded = loaded) -> None:
            loaded.cpus[cpu].state.cookie = function
            only.run(loaded, cpu)

        with loaded.pause(at, lambda hit=hit, theirs=theirs: hit(theirs[0], 1)):  # type: ignore[misc]
            hit(ours[0], 0)
        assert loaded.hits_of(1) == 1
        for cpu, functions in enumerate((ours, theirs)):
            for function in functions[1:]:  # hints lead elsewhere now
                hit(function, cpu)
        used = loaded.tree.used
        hit(ours[0], 0)
        hit(theirs[0], 1)
        assert loaded.tree.used == used
        loaded.close()


def test_tree_gives_its_last_node_to_one_cpu() -> None:
    """Another CPU takes it between two loads of this one: nobody takes one that is not there."""
    world = World(V6_12, Random(4), modules=0, programs=0, plain=True)
    one, other = tasks(world, 2, 1)
    for room in (1, 2):
        for at in range(50):
            loaded = Loaded(world.kernel, func=world.func.start, nodes=8)
            loaded.set_config(nodes=reserved(2) + room)
            with loaded.pause(at, lambda loaded=loaded: other.run(loaded, 1)):  # type: ignore[misc]
                one.run(loaded)
            assert not any(loaded.beyond())
            assert sum(Reader(loaded).counts().values()) == loaded.tree.hits()
            loaded.close()


def repeat(hit: Callable[[int], None], cpu: int) -> None:
    """Hit the probe three times."""
    for _ in range(3):
        hit(cpu)


def same_bucket(root: int, nodes: int, number: int) -> list[int]:
    """Return addresses whose nodes share a hash bucket, under any root."""
    mask = size_for(nodes, 2) - 1
    found: list[int] = []
    ip = TEXT + 0x1000
    while len(found) < number:
        product = (ip + (root << 20)) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
        if product >> 32 & mask == 5:
            found.append(ip)
        ip += 16
    return found


def test_tree_counts_right_where_a_bucket_is_overfull() -> None:
    """Nodes that a search does not come to are made anew: readers add them up."""
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1, 0)
    functions = same_bucket(512, 900, 80)
    loaded = Loaded(world.kernel, many=1, special=1, nodes=900)
    for _ in range(3):
        for function in functions:
            loaded.cpus[0].state.cookie = function
            only.run(loaded)
    assert Reader(loaded).counts() == {
        ((function, *only.callers), "whole"): 3 for function in functions
    }
    assert loaded.tree.used >= 80 * (1 + len(only.callers))
    loaded.close()


@layouts
def test_tree_is_written_by_threads_at_once(layout: Layout) -> None:
    world = World(layout, Random(11))
    stacks = tasks(world, 6)
    loaded = Loaded(world.kernel, cpus=3, func=world.func.start, nodes=400)
    each = 300
    started = threading.Barrier(3)

    def work(cpu: int) -> None:
        started.wait()
        for number in range(each):
            stacks[(number + cpu) % len(stacks)].run(loaded, cpu)

    workers = [threading.Thread(target=work, args=(cpu,)) for cpu in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected: Counter[tuple[int, ...]] = Counter()
    for cpu in range(3):
        for number in range(each):
            expected[stacks[(number + cpu) % len(stacks)].callers] += 1
    assert Reader(loaded).counts() == whole(world, expected)
    assert loaded.tree.hits() == 3 * each
    loaded.close()


@layouts
@given(random=RANDOMS)
def test_hints_tell_the_frame_that_came_last_and_one_before(layout: Layout, random: Random) -> None:
    """Two stacks in turn are looked up in the table once each, and never again."""
    world = World(layout, random, modules=0, programs=0, plain=True)
    stacks = tasks(world, 2)
    if stacks[0].callers == stacks[1].callers:
        return
    loaded = Loaded(world.kernel, func=world.func.start)

    def cost(hit: Hit) -> int:
        loaded.cpus[0].state.tick = 0
        hit.run(loaded)
        return int(loaded.cpus[0].state.tick)

    first = [cost(each) for each in stacks]
    alone = [[cost(each) for _ in range(3)][-1] for each in stacks]
    in_turn = [[cost(each) for each in stacks] for _ in range(6)]
    frames = [len(each.callers) for each in stacks]
    # One load a frame (two by frame pointers), a few more at the outermost, one look-up of the map.
    for index in (0, 1):
        most = (2 if layout.frame_pointers else 1) * frames[index] + 14
        assert alone[index] <= most < first[index]
        more = 2 if layout.frame_pointers else 0  # where it goes into the frame that differs
        assert {turn[index] - alone[index] for turn in in_turn[1:]} <= set(range(more + 1))
    loaded.close()


def test_time_of_a_hit_that_was_preempted_is_no_cost() -> None:
    """The time for which a task is away is another task's."""
    world = World(V6_12, Random(2), plain=True)
    (hit,) = tasks(world, 1)
    loaded = Loaded(world.kernel, func=world.func.start, sampled=1, special=1)
    loaded.tree.sample(1.0)
    hit.run(loaded)
    assert loaded.counters() == {"taken_ns": 250}
    at = world.kernel.at(hit.task, "struct task_struct", "nivcsw")

    def preempt() -> None:
        loaded.cpus[0].state.now += 10**9
        world.kernel.memory.put_word(at, 1)

    with loaded.pause(6, preempt):
        hit.run(loaded)
    assert world.kernel.memory.word(at) == 1
    assert loaded.counters() == {"taken_ns": 250}
    hit.run(loaded)
    assert loaded.counters() == {"taken_ns": 500}
    assert loaded.tree.hits() == sum(Reader(loaded).counts().values()) == 3
    loaded.close()


@given(
    random=RANDOMS,
    chances=st.lists(st.sampled_from([1.0, 0.5, 0.25, 1 / 16, 0.9]), min_size=1, max_size=3),
)
def test_sampling_takes_its_share_and_weighs_it(random: Random, chances: list[float]) -> None:
    world = World(V6_12, random)
    stacks = tasks(world, 2)
    loaded = Loaded(world.kernel, func=world.func.start, sampled=1, special=1)
    taken_ns = 0
    weight, hits, taken = 0, 0, 0
    each = 400
    for chance in chances:
        loaded.tree.sample(chance)
        for number in range(each):
            before = loaded.tree.sampled_out()
            cpu = number % 2
            random.choice(stacks).run(loaded, cpu)
            hits += 1
            if loaded.tree.sampled_out() == before:
                taken += 1
                weight += int(WEIGHT_ONE / chance)
                taken_ns += 250
    counts = Reader(loaded).counts()
    assert sum(counts.values()) == taken == hits - loaded.tree.sampled_out()
    assert loaded.tree.hits() == hits
    assert sum(loaded.tree.weights()) == weight
    assert loaded.counters() == {"taken_ns": taken_ns}
    sigma = sum(each * chance * (1 - chance) for chance in chances) ** 0.5
    assert abs(taken - each * sum(chances)) <= 5 * sigma
    # What each stack stands for lies beside its node.
    for offset, node in loaded.tree.counted():
        assert loaded.tree.weights()[offset // NODE_BYTES] >= node.ended * WEIGHT_ONE
    loaded.close()


def test_sampling_weighs_the_node_that_was_counted() -> None:
    world = World(V6_12, Random(3))
    stacks = tasks(world, 3)
    loaded = Loaded(world.kernel, func=world.func.start, sampled=1, special=1)
    loaded.tree.sample(0.5)
    for number in range(300):
        stacks[number % 3].run(loaded)
    weights = loaded.tree.weights()
    counted = dict(loaded.tree.counted())
    assert len(counted) >= 2
    for index, weight in enumerate(weights):
        node = counted.get(index * NODE_BYTES)
        assert weight == (node.ended * 2 * WEIGHT_ONE if node else 0)
    loaded.close()


def test_first_cpu_begins_behind_node_zero() -> None:
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1)
    loaded = Loaded(world.kernel, cpus=3, func=world.func.start)
    only.run(loaded, 2)
    roots = [loaded.tree.node(8 * NODE_BYTES * (1 + cpu)) for cpu in range(3)]
    assert [root.kind for root in roots] == [NodeKind.ROOT] * 3
    assert loaded.hits_of(2) == 1
    assert loaded.hits_of(0) == loaded.hits_of(1) == 0
    loaded.close()
