# SPDX-License-Identifier: MIT
"""The counts of the programs as user space reads them, and planted trees of the unit tests."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import FP_NEW, V6_1, V6_12, Layout
from loaded import Loaded
from worlds import RANDOMS, Reader, World, lost_hit, tasks

from kwalk.abi import NO_ADDRESS, Method, NodeKind, Per
from kwalk.decode.counts import StackCounts
from kwalk.model.stack import Group
from kwalk.transport.context_tree import ContextNode
from kwalk.transport.stack_maps import StackMaps

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from planted import JUMPED_MARK, UNKNOWN_CALLER, Planted

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12, FP_NEW], ids=repr)
Counted = dict[tuple[tuple[int, ...], Group | None], tuple[int, float | None]]


def counts(loaded: Loaded, method: Method, per: Per) -> tuple[Counted, dict[str, int]]:
    """Return the counts and losses that ``kwalk count`` would show."""
    reader = Reader(loaded, per)
    probe: Any = SimpleNamespace(
        method=method, tree=loaded.tree, config=loaded.config | {"sampled": loaded.sampled},
        obj=loaded,
    )  # fmt: skip
    maps = StackMaps(loaded, 127, {})  # type: ignore[arg-type]
    with patch("kwalk.decode.counts.possible_cpus", return_value=len(loaded.cpus)):
        read = StackCounts(probe, reader.contexts, reader.table, maps, reader.groups_of).read()
    found: Counted = {}
    for count in read[0]:
        key = count.stack.addresses, count.group
        assert key not in found
        found[key] = count.count, count.scaled
    return found, read[1]


@layouts
@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
@given(random=RANDOMS, chance=st.sampled_from([0.0, 1.0, 0.5]))
def test_counts_are_read_as_they_were_made(
    layout: Layout, method: Method, random: Random, chance: float
) -> None:
    """By either method: each stack and process once, whichever CPUs it was on."""
    world = World(layout, random)
    hits = tasks(world, 3)
    loaded = Loaded(
        world.kernel, func=world.func.start, method=method, per=Per.PID, slow=1, entries=64,
        sampled=int(bool(chance)), special=int(bool(chance)),
    )  # fmt: skip
    loaded.tree.sample(chance or 1.0)
    expected: Counter[tuple[tuple[int, ...], Group | None]] = Counter()
    for _ in range(30):
        hit, cpu, tgid = random.choice(hits), random.randint(0, 1), random.choice((7, 8))
        loaded.cpus[cpu].task(tgid, tgid, b"redis")
        loaded.cpus[cpu].unwinds(world.func.start + 4, *hit.callers)
        before = loaded.tree.sampled_out()
        hit.run(loaded, cpu)
        if loaded.tree.sampled_out() == before:
            expected[(world.func.start, *hit.callers), Group("pid", tgid, "redis")] += 1
    assume("lost_eexist" not in loaded.counters())
    scale = 1 / chance if chance else None
    assert counts(loaded, method, Per.PID) == (
        {key: (number, scale and number * scale) for key, number in expected.items()},
        {},
    )
    loaded.close()


def shape(loaded: Any, offset: int) -> list[tuple[object, ...]]:
    """Return a node and its ancestors, as readers see them."""
    seen: list[tuple[object, ...]] = []
    told = (NodeKind.ROOT, NodeKind.KERNEL, NodeKind.GROUP, NodeKind.CUT, NodeKind.FUNCTION)
    while True:
        node: ContextNode = loaded.tree.node(offset)
        frame = node.kind not in told
        value = node.value if node.kind == NodeKind.GROUP else b""
        seen.append((node.ip, value, 0 if frame else node.kind, node.ended, node.cut))
        if node.kind == NodeKind.ROOT:
            return [*seen, (offset,)]
        offset = node.parent


@layouts
@given(random=RANDOMS)
def test_planted_trees_are_like_those_that_programs_leave(layout: Layout, random: Random) -> None:
    """What unit tests plant by hand: stacks, cut ones, the kernel's, and processes."""
    world = World(layout, random)
    hits = tasks(world, 3, 5)
    lost = lost_hit(world)
    depth = random.randint(2, 8)
    settings = {"func": world.func.start, "max_frames": depth, "slow": 1, "per": Per.PID}
    loaded = Loaded(world.kernel, **settings)
    seen: list[tuple[int, int, int, tuple[int, ...], bool]] = []
    words = [world.func.start + 4, 77]
    for _ in range(10):
        cpu, tgid = random.randint(0, 1), random.choice((7, 8))
        loaded.cpus[cpu].task(tgid, tgid, b"redis")
        hit = random.choice([*hits, lost])
        loaded.cpus[cpu].unwinds(*words)
        hit.run(loaded, cpu)
        seen.append((loaded.hits_of(cpu), cpu, tgid, tuple(hit.callers), hit is lost))
    assert loaded.tree.hits() == 10
    made = sorted(shape(loaded, offset) for offset, _ in loaded.tree.counted())
    loaded.close()
    planted = Planted()
    planted.tree.close()
    planted.tree = planted.plant(world.func.start)
    for hits_so_far, cpu, tgid, callers, is_lost in seen:
        cut = callers[depth - 1] if len(callers) >= depth and not is_lost else 0
        if is_lost:
            leaf = planted.kernels(*words, mark=callers[0], cpu=cpu)
        else:
            leaf = planted.walked(*callers[: depth - 1], cpu=cpu, cut=cut)
        group = planted.process(leaf, tgid)
        planted.count(group, cut=1) if cut else planted.count(group, ended=1)
        planted.hit(hits_so_far, cpu)
    assert planted.tree.hits() == 10
    assert made == sorted(shape(planted, offset) for offset, _ in planted.tree.counted())
    planted.close()


def test_planted_marks_are_those_of_programs() -> None:
    """Of a caller that is not known, and where FUNC jumped to the trampoline."""
    world = World(V6_12, Random(2))
    execution = world.begin()
    slot = execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    caller = execution.callers[0]
    world.kernel.memory.put_word(slot, world.kernel.symbols["rethook"])
    context = execution.jumped(1)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = 1
    loaded.cpus[0].unwinds(77, caller, 78)
    loaded.run("kw_fentry", context)
    world.kernel.memory.put_word(execution.sp + 64 + 24, 5)  # no caller is to be found
    loaded.run("kw_fentry", context)
    marks = set()
    for _, counted in loaded.tree.counted():
        node = counted
        while loaded.tree.node(node.parent).kind != NodeKind.ROOT:
            node = loaded.tree.node(node.parent)
        marks.add(node.ip)
    assert marks == {caller & JUMPED_MARK, UNKNOWN_CALLER}
    assert loaded.tree.node(0).ip == NO_ADDRESS
    loaded.close()
