# SPDX-License-Identifier: MIT
"""Generated programs of arm64: they count what the walk counts, and no other stack."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hots import Hot, Stack, build
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, Layout
from objects import STACK_SIZE
from worlds import RANDOMS, World

from arm64.execution import Execution

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
by_attach = pytest.mark.parametrize("fentry", [False, True], ids=["kprobe", "fentry"])
KINDS = ("user", "thread", "softirq", "interrupt", "switched interrupt", "nmi", "nested", "early")
ARGUMENTS = 2


def new_world(layout: Layout, random: Random, static: float = 0.6) -> World:
    """Return a kernel with functions, some with static frames."""
    return World(layout, random, functions=6, modules=0, programs=0, static=static)


@by_layout
@by_attach
@pytest.mark.parametrize("kind", KINDS)
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_arm_stacks_of_each_kind_are_taken(
    layout: Layout, fentry: bool, kind: str, random: Random, typed: int
) -> None:
    world = new_world(layout, random)
    stacks = [build(world, kind) for _ in range(3)]
    alone = [stack.alone(fentry, typed_loads=typed) for stack in stacks]
    hot = Hot(world, fentry, typed_loads=typed)
    for stack in stacks:
        hot.hit(stack)
    made = hot.make()
    assert made == len({tuple(counts) for counts, _ in alone}), hot.refused
    for stack, expected in zip(stacks, alone, strict=True):
        assert hot.outcome(stack) == expected
    assert hot.missed == 0
    hot.close()


def other(stack: Stack) -> Stack:
    """Return the stack with one word changed: an address, a record's FP, a saved register."""
    world, execution = stack.world, stack.execution
    random, memory = world.random, world.kernel.memory
    stack.changed({})
    slots = [slot for slot in execution.slots if slot]
    frames = [world.kernel.at(regs, "struct pt_regs", "stackframe") for regs in execution.saved]
    by = random.choice((-8, 8, 1, 4, 16, -16, 0x1000, STACK_SIZE, -STACK_SIZE))
    kind = random.random()
    if kind < 0.4:
        slot = random.choice(slots)
        bit = 1 << random.randrange(64)
        word = random.choice((memory.word(slot) ^ bit, *execution.addresses))
        return stack.changed({slot: word})
    if kind < 0.6:
        # In functions with static frames nobody else changes a saved FP.
        calls = list(zip(execution.addresses, execution.slots, strict=True))
        places = [slot - 8 for address, slot in calls if slot and not is_static(world, address)]
        if places:
            at = random.choice(places)
            return stack.changed({at: memory.word(at) + by})
    regs = random.choice(execution.saved)
    at = random.choice((regs + 232, regs + 248, regs + 256, *frames))
    at = at + 8 * random.randint(0, 2) if at in frames else at
    return stack.changed({at: random.choice((memory.word(at) + by, 0, 1, 2))})


def is_static(world: World, address: int) -> bool:
    """Return whether a function's frame is static for the generated programs."""
    return any(body.static and body.start + 4 < address <= body.end for body in world.functions)


@by_layout
@by_attach
@pytest.mark.parametrize("kind", KINDS)
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_arm_stacks_that_are_nearly_known_are_walked(
    layout: Layout, fentry: bool, kind: str, random: Random, typed: int
) -> None:
    world = new_world(layout, random)
    stacks = [build(world, kind), build(world, random.choice(KINDS))]
    nears = [other(stacks[0]) for _ in range(4)]
    alone = [stack.alone(fentry, typed_loads=typed) for stack in (*nears, *stacks)]
    hot = Hot(world, fentry, typed_loads=typed)
    for stack in stacks:
        hot.hit(stack)
    hot.make()
    for stack, expected in zip((*nears, *stacks), alone, strict=True):
        assert hot.outcome(stack) == expected
    hot.close()


@by_layout
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_arm_return_addresses_are_compared_but_for_their_signature(
    layout: Layout, random: Random, typed: int
) -> None:
    world = new_world(layout, random)
    stack = build(world, random.choice(KINDS[:-1]))
    hot = Hot(world, False, typed_loads=typed)
    hot.hit(stack)
    assert hot.make() == 1
    mask = world.kernel.code_mask
    for slot in filter(None, stack.execution.slots):
        stack.changed({})
        word = world.kernel.memory.word(slot)
        for bit in (2, 30, 46, 47, 55, 63):
            known = bool(mask >> bit & 1)
            assert hot.takes(stack.changed({slot: word ^ 1 << bit})) == known
    hot.close()


@by_layout
@given(random=RANDOMS)
def test_arm_static_frames_cost_less(layout: Layout, random: Random) -> None:
    """A frame above one of changing size is loaded, even if its own size is constant."""
    world = new_world(layout, random, static=1.0)
    ran = []
    for static in (True, False):
        execution = Execution(world.kernel, Random(1), world.kernel.new_task())
        execution.from_user(world.syscall)
        for body in world.functions:
            execution.call(body)
        execution.call(world.func, prologue=False)
        stack = Stack.of(world, execution)
        hot = Hot(world, False, typed_loads=1)
        if not static:
            hot.is_static = lambda address: False  # type: ignore[method-assign]
        hot.hit(stack)
        assert hot.make() == 1
        assert hot.takes(stack)
        assert hot.program
        ran.append(hot.program.ran)
        hot.close()
    assert ran[1] - ran[0] >= 5 * (len(world.functions) - 1)


@by_layout
@given(random=RANDOMS)
def test_arm_trampolines_of_another_shape_are_walked(layout: Layout, random: Random) -> None:
    """With a return value the records lie elsewhere, and a stale copy may stand where they were."""
    world = new_world(layout, random)
    stack = build(world, random.choice(KINDS))
    shifted = Stack.of(world, stack.execution, "shifted")
    expected = [each.alone(True) for each in (stack, shifted)]
    hot = Hot(world, True)
    hot.hit(stack)
    assert hot.make() == 1
    for _ in range(3):
        assert hot.outcome(stack) == expected[0]
        assert hot.outcome(shifted) == expected[1]
    hot.close()


@by_layout
@pytest.mark.parametrize("off", [0, 8])
@given(random=RANDOMS)
def test_arm_trampolines_with_another_record_of_their_own_are_walked(
    layout: Layout, off: int, random: Random
) -> None:
    """The record made for FUNC may stand there yet, from an earlier call."""
    world = new_world(layout, random)
    stack = build(world, random.choice(KINDS))
    hot = Hot(world, True)
    hot.hit(stack)
    assert hot.make() == 1
    assert hot.takes(stack)
    execution = stack.execution
    real = execution.trampoline

    def trampoline(func: int, arguments: int, shift: int = 0) -> int:
        own = execution.sp - 32
        context = real(func, arguments, shift)
        world.kernel.memory.put_word(own + off, world.kernel.memory.word(own + off) + 16)
        return context

    execution.trampoline = trampoline  # type: ignore[method-assign]
    assert not hot.takes(stack)
    hot.close()


@by_layout
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_arm_records_above_a_dynamic_frame_are_loaded(
    layout: Layout, random: Random, typed: int
) -> None:
    """How far it is to the caller's depends on both functions."""
    world = new_world(layout, random, static=1.0)
    stacks = []
    for more in (0, 2):
        execution = Execution(world.kernel, Random(1), world.kernel.new_task())
        execution.from_user(world.syscall)
        execution.call(world.functions[0])
        execution.call(world.switching, prologue=False)
        execution.push(*[0] * more)
        execution.enter(world.switching)
        execution.call(world.func, prologue=False)
        stacks.append(Stack.of(world, execution))
    assert stacks[0].addresses == stacks[1].addresses
    hot = Hot(world, False, typed_loads=typed)
    hot.hit(stacks[0])
    assert hot.make() == 1
    assert all(hot.takes(stack) for stack in stacks)
    hot.close()


@by_layout
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_arm_records_below_are_not_taken(layout: Layout, random: Random, typed: int) -> None:
    """A copy of a record, of which the walk asks the kernel's unwinder."""
    world = new_world(layout, random, static=0.0)
    stack = build(world, "user")
    memory = world.kernel.memory
    hot = Hot(world, False, typed_loads=typed)
    hot.hit(stack)
    assert hot.make() == 1
    records = [slot - 8 for slot in stack.execution.slots if slot]
    copy = (stack.execution.sp & -16) - 256
    for outer, inner in pairwise(records):
        stack.changed({})
        words = {copy: memory.word(outer), copy + 8: memory.word(outer + 8), inner: copy}
        assert memory.word(inner) == outer
        assert not hot.takes(stack.changed(words))
    hot.close()
