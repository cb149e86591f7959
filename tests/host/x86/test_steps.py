# SPDX-License-Identifier: MIT
"""Steps by ORC rules; the end of x86-64's unwinders at addresses that are not code."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, ORC, V6_1, V6_12, Layout
from loaded import Loaded
from objects import TASK_STACK
from worlds import RANDOMS, Reader, World, walked

from x86 import reference
from x86.rules import Orc

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@pytest.mark.parametrize("layout", ORC, ids=repr)
@given(
    random=RANDOMS,
    stage=st.sampled_from(["entry", "pushed", "r10", "partial", "partial r10", "r13 di dx"]),
)
def test_walk_goes_on_at_any_instruction_that_was_interrupted(
    layout: Layout, random: Random, stage: str
) -> None:
    """Before, in the midst of, and behind a prologue; in entry code that has saved only a part."""
    world = World(layout, random, functions=5)
    execution = world.begin()
    world.go(execution, random.randint(0, 3))
    registers: dict[str, int] = {}
    if stage == "entry":
        body = random.choice(world.functions + world.modular)
        execution.call(body, prologue=False)
        at = body.start
    elif stage == "pushed":
        body = world.framed
        execution.call(body, prologue=False)
        execution.push(execution.fp)
        at = body.start + random.randint(1, 3)
    elif stage == "r10":
        body = world.aligned
        slot = execution.call(body, prologue=False)
        registers = {"r10": slot + 8}
        execution.sp &= -32
        at = body.start + random.randint(5, 20)
    elif stage.startswith("partial"):
        where = 0
        if stage == "partial r10":  # whose value only the whole registers before have
            slot = execution.call(world.aligned, prologue=False)
            registers = {"r10": slot + 8}
            execution.sp &= -32
            where = world.aligned.start + 6
        execution.interrupt_begins(world.interrupt, where)
        at = world.interrupt.start + random.randint(0, 20)
    else:
        register = random.choice(("r13", "di", "dx"))
        body = world.by_register[register]
        slot = execution.call(body, prologue=False)
        registers = {register: slot + 8}
        execution.push(1)
        at = body.start + 8
    nmi = stage.startswith("partial") or random.random() < 0.5
    execution.interrupt(world.nmi if nmi else world.interrupt, at, nmi, **registers)
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    assert walked(world, execution) == {((world.func.start, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS)
def test_walk_ends_before_what_is_no_code(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    execution = world.begin()
    slot = execution.call(world.any_function())
    world.go(execution, random.randint(0, 3))
    execution.call(world.func, prologue=False)
    nothing = [0, 8, 0x401000, TASK_STACK, 0xFFFFFFFF82000010, 0xFFFFFFFFFFFFFFF8]
    nothing += [m.text.end + 0x100 for m in world.kernel.modules]
    world.kernel.memory.put_word(slot, random.choice(nothing))
    expected = execution.callers[:-2]
    unwinder = reference.from_entry(execution)
    assert reference.stack(unwinder) == expected
    if not expected and layout.frame_pointers:
        return  # FUNC's caller may be code that is in no list: test_entry.py
    assert walked(world, execution) == {((world.func.start, *expected), "whole"): 2}


@pytest.mark.parametrize("layout", ORC, ids=repr)
@given(random=RANDOMS)
def test_walk_ends_with_code_that_has_no_rule(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.unknown)
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    expected = execution.callers[:-2]
    assert walked(world, execution) == {((world.func.start, *expected), "whole"): 2}


@pytest.mark.parametrize("layout", ORC, ids=repr)
@given(random=RANDOMS, at=st.sampled_from([24, 1608, -24, 8 * 2048, 12, -8 * 2049]))
def test_walk_takes_only_distances_that_a_node_can_hold(
    layout: Layout, random: Random, at: int
) -> None:
    """Others fall back: the kernel has no such frame in practice, and none is guessed."""
    world = World(layout, random, functions=5, odd=Orc("call", "sp", at))
    execution = world.begin()
    execution.call(world.odd, prologue=False)
    execution.sp -= at - 8 if at in (24, 1608) else 64
    execution.call(world.func, prologue=False)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 1, 2)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, how),) = Reader(loaded).counts()
    if at in (24, 1608):
        assert (stack, how) == ((world.func.start, *execution.callers), "whole")
    else:
        assert how == "fallback"
    loaded.close()


@pytest.mark.parametrize(("layout", "off"), [(V6_12, 8), (V6_1, 8), (V6_12, 2048)], ids=repr)
def test_walk_gives_up_where_the_stack_pointer_would_not_grow(layout: Layout, off: int) -> None:
    world = World(layout, Random(3), functions=5, odd=Orc("call", "sp_deref", off - 8))
    execution = world.begin()
    execution.call(world.odd, prologue=False)
    execution.push(execution.sp - off)
    execution.call(world.func, prologue=False)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 1, 2)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, 1, 2), "fallback"): 2}
    loaded.close()
