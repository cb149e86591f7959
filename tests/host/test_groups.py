# SPDX-License-Identifier: MIT
"""Groups of a stack's events (--per): by process, name, CPU, cgroup, number in a namespace."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import V6_1, V6_12, Layout
from loaded import Loaded
from worlds import RANDOMS, Reader, World, tasks

from kwalk.abi import NodeKind, Per
from kwalk.model.stack import Group

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)
NAMES = [b"redis", b"redis-server", b"", b"kworker/0:1-eve", b"a" * 15]
K = 0x9E3779B97F4A7C15


def load(world: World, per: Per, **settings: int) -> Loaded:
    return Loaded(world.kernel, func=world.func.start, per=per, slow=1, **settings)


@layouts
@pytest.mark.parametrize("per", [Per.PID, Per.COMM, Per.CPU, Per.CGROUP])
@given(random=RANDOMS)
def test_events_are_grouped_by_what_was_asked_for(layout: Layout, per: Per, random: Random) -> None:
    world = World(layout, random)
    stacks = tasks(world, 2)
    loaded = load(world, per)
    expected: Counter[tuple[tuple[int, ...], Group]] = Counter()
    first_names: dict[int, str] = {}
    for _ in range(20):
        cpu, name = random.randint(0, 1), random.choice(NAMES)
        tgid, cgroup = random.choice((1, 7, 4194303)), random.choice((0, 1, 1 << 40, 99999999))
        loaded.cpus[cpu].task(tgid, tgid + 1, name)
        loaded.cpus[cpu].state.cgroup = cgroup
        chosen = random.choice(stacks)
        chosen.run(loaded, cpu)
        text = name.decode()
        group = {
            Per.PID: Group("pid", tgid, first_names.setdefault(tgid, text)),
            Per.COMM: Group("comm", 0, text),
            Per.CPU: Group("cpu", cpu, ""),
            Per.CGROUP: Group("cgroup", cgroup, ""),
        }[per]
        expected[(world.func.start, *chosen.callers), nameless(group)] += 1
    found: Counter[tuple[tuple[int, ...], Group | None]] = Counter()
    for (stack, group_or_none), number in Reader(loaded, per).groups().items():
        assert group_or_none is not None
        found[stack, nameless(group_or_none)] += number
    assert found == expected
    assert loaded.counters() == {}
    loaded.close()


def nameless(group: Group) -> Group:
    """Return groups without the names shown beside their numbers."""
    return group if group.kind == "comm" else group._replace(name="")


def test_process_keeps_the_name_that_it_had_first() -> None:
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1)
    loaded = load(world, Per.PID)
    for name in (b"bash", b"redis", b"redis"):
        loaded.cpus[0].task(77, 77, name)
        only.run(loaded)
    expected = ((world.func.start, *only.callers), Group("pid", 77, "bash"))
    assert Reader(loaded, Per.PID).groups() == {expected: 3}
    loaded.close()


def colliding(number: int) -> list[int]:
    """Return cgroup numbers with the same hash bits in a group's node."""
    inverse = pow(K, -1, 1 << 64)
    return [((0x123456 << 40) + n) * inverse % (1 << 64) for n in range(1, number + 1)]


@layouts
@given(random=RANDOMS, number=st.integers(2, 4))
def test_groups_that_share_their_bits_are_told_by_their_value(
    layout: Layout, random: Random, number: int
) -> None:
    world = World(layout, random)
    (only,) = tasks(world, 1)
    loaded = load(world, Per.CGROUP)
    expected: Counter[int] = Counter()
    for _ in range(20):
        loaded.cpus[0].state.cgroup = chosen = random.choice(colliding(number))
        expected[chosen] += 1
        only.run(loaded)
    found = {g.number: n for (_, g), n in Reader(loaded, Per.CGROUP).groups().items() if g}
    assert found == expected
    assert loaded.counters() == {}
    loaded.close()


def test_groups_that_share_too_many_bits_are_counted_with_the_stack() -> None:
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1)
    loaded = load(world, Per.CGROUP)
    for cgroup in colliding(6):
        loaded.cpus[0].state.cgroup = cgroup
        only.run(loaded)
    groups = Reader(loaded, Per.CGROUP).groups()
    assert sorted((g.number if g else None) or 0 for _, g in groups) == [0, *sorted(colliding(4))]
    assert groups[(world.func.start, *only.callers), None] == 2
    assert loaded.counters() == {"pool_full": 2}
    loaded.close()


def test_groups_without_room_are_counted_with_the_stack() -> None:
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1)
    loaded = load(world, Per.PID, nodes=len(only.callers) + 2)
    loaded.set_config(nodes=24 + len(only.callers) + 2)
    for tgid in (1, 2, 3, 1, 4):
        loaded.cpus[0].task(tgid, tgid, b"x")
        only.run(loaded)
    stack = (world.func.start, *only.callers)
    assert Reader(loaded, Per.PID).groups() == {
        (stack, Group("pid", 1, "x")): 2,
        (stack, Group("pid", 2, "x")): 1,
        (stack, None): 2,
    }
    assert loaded.counters() == {"pool_full": 2}
    loaded.close()


@layouts
@given(random=RANDOMS)
def test_groups_by_number_know_tasks_of_one_namespace(layout: Layout, random: Random) -> None:
    """A task is in as many namespaces as are above its own; those without a number keep a name."""
    world = World(layout, random)
    kernel = world.kernel
    hits = tasks(world, 4)
    own, other = kernel.allocate(64), kernel.allocate(64)
    expected: Counter[Group] = Counter()
    groups = {}
    for index, hit in enumerate(hits):
        level, space = [(1, own), (2, own), (1, other), (0, own)][index]
        kernel.number(hit.task, level, [100 + index, 200 + index, 300 + index], space)
        known = level >= 1 and space == own
        groups[hit] = Group("pid", 200 + index if known else None, f"task{index}")
    loaded = load(world, Per.NUMBER, pidns=own, pidns_level=1)
    for _ in range(12):
        index = random.randrange(4)
        loaded.cpus[0].task(5, 5, f"task{index}".encode())
        hits[index].run(loaded)
        expected[groups[hits[index]]] += 1
    found: Counter[Group | None] = Counter()
    for (_, group), number in Reader(loaded, Per.PID).groups().items():
        found[group] += number
    assert found == expected
    loaded.close()


def test_groups_are_under_the_node_of_their_stack() -> None:
    world = World(V6_12, Random(1))
    (only,) = tasks(world, 1)
    loaded = load(world, Per.PID)
    for tgid in (1, 2):
        loaded.cpus[0].task(tgid, tgid, b"x")
        only.run(loaded)
    (one, two) = loaded.tree.counted()
    assert one[1].kind == two[1].kind == NodeKind.GROUP
    assert one[1].parent == two[1].parent
    loaded.close()
