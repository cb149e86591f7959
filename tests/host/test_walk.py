# SPDX-License-Identifier: MIT
"""The walk, on stacks of every kind, by every layout of the kernel's types."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, FP, FP_NEW, V6_12, Layout
from loaded import Loaded
from machine import Execution, reference
from objects import HEAP, TASK_STACK
from worlds import RANDOMS, Reader, World, walked

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS)
def test_walk_finds_the_callers(layout: Layout, random: Random) -> None:
    world = World(layout, random, lookup=random.random() < 0.7)
    execution = world.stacked()
    unwinder = reference.from_entry(execution)
    assert reference.stack(unwinder) == execution.callers
    loaded = Loaded(world.kernel, func=world.func.start)
    regs = execution.regs(world.func.start)
    for _ in range(3):  # new frames, then down the tree
        assert loaded.run("kw_kprobe", regs) == 0
    expected = (world.func.start, *execution.callers)
    assert Reader(loaded).counts() == {(expected, "whole"): 3}
    assert loaded.tree.hits() == 3
    assert loaded.counters() == {}
    loaded.close()


@by_layout
@pytest.mark.parametrize("typed", [0, 1])
@given(random=RANDOMS)
def test_walk_tells_many_stacks_apart(layout: Layout, typed: int, random: Random) -> None:
    """One task after the other, on two CPUs: hints point elsewhere most of the time."""
    world = World(layout, random)
    loaded = Loaded(world.kernel, func=world.func.start, typed_loads=typed, nodes=1000)
    expected: Counter[tuple[int, ...]] = Counter()
    hits = 0
    for _ in range(4):
        execution = world.stacked(4)
        regs = execution.regs(world.func.start)
        # The rest of it is the same; its innermost frame is at another place of the same function.
        for _ in range(random.randint(1, 4)):
            cpu = random.randint(0, 1)
            loaded.run("kw_kprobe", regs, cpu)
            expected[(world.func.start, *execution.callers)] += 1
            hits += 1
    found = Reader(loaded).counts()
    assert found == {(stack, "whole"): number for stack, number in expected.items()}
    assert loaded.tree.hits() == hits
    loaded.close()


@by_layout
@given(random=RANDOMS, calls=st.integers(20, 130), most=st.integers(2, 127))
def test_walk_of_deep_stacks_is_cut_at_the_depth(
    layout: Layout, random: Random, calls: int, most: int
) -> None:
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, calls)
    execution.call(world.func, prologue=False)
    loaded = Loaded(world.kernel, func=world.func.start, max_frames=most, nodes=500)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    whole = (world.func.start, *execution.callers)
    expected = (whole[:most], "truncated" if len(whole) > most else "whole")
    assert Reader(loaded).counts() == {expected: 2}
    assert loaded.counters() == {}
    loaded.close()


@by_layout
@given(random=RANDOMS, kind=st.sampled_from(["rethook", "graph", "both"]))
def test_walk_knows_replaced_return_addresses(layout: Layout, random: Random, kind: str) -> None:
    world = World(layout, random)
    execution = world.begin()
    for _ in range(random.randint(1, 6)):
        slot = execution.call(world.any_function())
        if random.random() < 0.5:
            for _ in range(random.randint(1, 2) if kind != "rethook" else 0):
                execution.graph(slot, extra=random.randint(0, 4))
            for _ in range(random.randint(1, 2) if kind != "graph" else 0):
                execution.rethook(slot)
    slot = execution.call(world.func, prologue=False)
    if kind == "rethook" and random.random() < 0.5:  # a kretprobe on FUNC itself
        execution.rethook(slot)
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    expected = (world.func.start, *execution.callers)
    assert Reader(loaded).counts() == {(expected, "whole"): 2}
    assert loaded.counters() == {}
    loaded.close()


@by_layout
@pytest.mark.parametrize("hook", ["rethook", "graph_return"])
@given(random=RANDOMS)
def test_walk_gives_up_where_a_replaced_address_is_in_no_list(
    layout: Layout, hook: str, random: Random
) -> None:
    world = World(layout, random)
    execution = world.begin()
    slot = execution.call(world.any_function())
    world.go(execution, 2)
    execution.call(world.func, prologue=False)
    if random.random() < 0.5:  # others are in the lists
        world.kernel.graph(TASK_STACK + 8, world.functions[0].start + 40)
        world.kernel.rethook(TASK_STACK + 16, world.functions[0].start + 40)
    execution.replace(slot, world.kernel.symbols[hook])
    loaded = Loaded(world.kernel, func=world.func.start)
    kernels = [world.func.start + 4, *execution.callers[:2]]
    loaded.cpus[0].unwinds(*kernels)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    expected = (world.func.start, *kernels[1:])
    assert Reader(loaded).counts() == {(expected, "fallback"): 1}
    loaded.close()


@pytest.mark.parametrize("layout", FP, ids=repr)
@given(random=RANDOMS)
def test_walk_by_frame_pointers_shows_of_a_prologue_what_the_kernel_shows(
    layout: Layout, random: Random
) -> None:
    """An interrupted function that has no frame yet hides its caller from frame pointers."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 2)
    body = world.any_function()
    execution.call(body, prologue=False)
    execution.interrupt(world.interrupt, body.start)
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    unwinder = reference.from_entry(execution)
    expected = reference.stack(unwinder)
    assert len(expected) == len(execution.callers) - 1
    assert walked(world, execution) == {((world.func.start, *expected), "whole"): 2}


@by_layout
@given(random=RANDOMS, words=st.integers(1, 60))
def test_walk_of_garbage_loses_no_hit(layout: Layout, random: Random, words: int) -> None:
    """Whatever stands on a stack: the hit is counted once, and nothing is read or written amiss."""
    world = World(layout, random)
    execution = world.stacked(3)
    memory = world.kernel.memory
    pool = [TASK_STACK + 8 * n for n in range(0, 2048, 97)]
    pool += [f.start + 40 for f in world.kernel.text.functions]
    pool += [world.kernel.symbols["rethook"], world.kernel.symbols["graph_return"], 0, 1 << 63, 7]
    regs = execution.regs(world.func.start)
    for number in range(words):
        place = execution.sp + 8 * number
        if memory.read(place, 8) and random.random() < 0.5:
            memory.put_word(place, random.choice(pool))
    loaded = Loaded(world.kernel, func=world.func.start, nodes=400)
    loaded.cpus[0].unwinds(world.func.start, 5)
    for _ in range(3):
        loaded.run("kw_kprobe", regs)
    counts = Reader(loaded).counts()
    assert sum(counts.values()) == 3
    assert len(counts) == 1
    assert loaded.tree.hits() == 3
    loaded.close()


def test_walk_by_frame_pointers_gives_up_where_bp_leaves_the_stack() -> None:
    world = World(FP_NEW, Random(5))
    execution = world.begin()
    execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    execution.fp = HEAP  # memory, and not a stack
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 1, 2)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, 1, 2), "fallback"): 2}
    loaded.close()


def test_walk_goes_over_a_task_stack_of_any_size() -> None:
    """KASAN's are larger: a CFA from BP that is far away is not taken for nonsense."""
    world = World(V6_12, Random(1), functions=5)
    kernel = world.kernel
    big = TASK_STACK + 0x300000
    kernel.memory.area(big, 0x8000)
    kernel.stack_size = 0x8000
    kernel.set(kernel.task, "struct task_struct", stack=big)
    execution = Execution(kernel, Random(1), kernel.task)
    execution.from_user(world.syscall)
    execution.call(world.framed)
    execution.sp -= 0x6000  # an array
    execution.call(world.func, prologue=False)
    assert walked(world, execution) == {((world.func.start, *execution.callers), "whole"): 2}
