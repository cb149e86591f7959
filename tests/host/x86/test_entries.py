# SPDX-License-Identifier: MIT
"""Start of the walk on x86-64: trampolines, and prologues in progress."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, FP, ORC, V6_12, Layout
from loaded import Loaded
from worlds import RANDOMS, World, counted

from kwalk.abi import (
    Place,
    Start,
)
from x86 import reference

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS, arguments=st.integers(0, 6))
def test_fentry_knows_a_trampoline_that_was_jumped_to(
    layout: Layout, random: Random, arguments: int
) -> None:
    """From 7.0 on: nothing of FUNC is on the stack; then FUNC's caller stands above BP."""
    world = World(layout, random)
    execution = world.stacked()
    context = execution.jumped(arguments)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = arguments
    for _ in range(2):
        loaded.run("kw_fentry", context)
    assert counted(loaded) == {((world.func.start, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS)
def test_fentry_gives_up_on_a_trampoline_that_it_does_not_know(
    layout: Layout, random: Random
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    execution.push(0x1234)
    context = execution.jumped(2)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = 2
    loaded.cpus[0].unwinds(world.func.start + 5, 77, 78)
    loaded.run("kw_fentry", context)
    assert counted(loaded) == {((world.func.start, 77, 78), "fallback"): 1}


@pytest.mark.parametrize("layout", ORC, ids=repr)
@given(random=RANDOMS, stage=st.sampled_from(["entry", "pushed", "body"]))
def test_kprobe_inside_starts_by_the_rule_of_its_instruction(
    layout: Layout, random: Random, stage: str
) -> None:
    world = World(layout, random, functions=5)
    execution = world.begin()
    world.go(execution, random.randint(0, 5))
    body = world.framed
    execution.call(body, prologue=stage == "body")
    if stage == "pushed":
        execution.push(execution.fp)
    traced = body.start + {"entry": 0, "pushed": random.randint(1, 3), "body": 50}[stage]
    loaded = Loaded(world.kernel, func=traced, place=Place.INSIDE)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(traced))
    assert counted(loaded) == {((traced, *execution.callers), "whole"): 2}


@pytest.mark.parametrize("layout", FP, ids=repr)
@given(random=RANDOMS, start=st.sampled_from([Start.BARE, Start.PUSHED, Start.FRAME]))
def test_kprobe_inside_starts_where_the_prologue_is(
    layout: Layout, random: Random, start: Start
) -> None:
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 5))
    execution.call(world.func, prologue=start == Start.FRAME)
    if start == Start.PUSHED:
        execution.push(execution.fp)
    traced = world.func.start + 4
    loaded = Loaded(world.kernel, func=traced, place=Place.INSIDE)
    loaded.change(start=start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(traced))
    assert counted(loaded) == {((traced, *execution.callers), "whole"): 2}


def test_reference_agrees_on_a_sample() -> None:
    world = World(V6_12, Random(2))
    execution = world.begin()
    world.go(execution, 4)
    at = execution.interrupt(world.interrupt)
    word = world.kernel.memory.word
    unwinder = reference.Unwinder(
        world.kernel, word(at + 128), word(at + 152), word(at + 32), regs=at, signal=True
    )
    assert reference.stack(unwinder) == execution.callers
