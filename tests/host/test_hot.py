# SPDX-License-Identifier: MIT
"""Generated programs in front of the walk: they count what the walk would have counted."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hots import FALLBACK, Hot, Stack, build, kinds
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, FP, ORC, Layout
from worlds import RANDOMS, World
from x86.execution import Body, Execution
from x86.rules import Orc

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
by_attach = pytest.mark.parametrize("fentry", [False, True], ids=["kprobe", "fentry"])
CASES = [
    pytest.param(layout, kind, id=f"{layout!r}-{kind}")
    for layout in ALL
    for kind in kinds(layout.frame_pointers)
]


def new_world(layout: Layout, random: Random) -> World:
    """Return a kernel with functions of every kind, and static frames among those with BP."""
    return World(layout, random, functions=6, modules=0, programs=0, static=0.6)


def balanced(hot: Hot) -> bool:
    """Return whether each hit has its place in the ledger."""
    lost = sum(n for name, n in hot.loaded.counters().items() if name.startswith("lost_"))
    return hot.loaded.tree.hits() == sum(hot.counts().values()) + lost


@by_layout
@by_attach
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_known_stacks_are_counted_where_the_walk_counts_them(
    layout: Layout, fentry: bool, random: Random, typed: int
) -> None:
    """Among others, of any kind, with frames in modules and of BPF."""
    world = World(layout, random, static=random.choice((0.0, 0.5, 1.0)))
    stacks = []
    for _ in range(4):
        execution = world.begin(world.kernel.new_task())
        world.go(execution, random.randint(0, 4))
        execution.call(world.func, prologue=False)
        stacks.append(Stack.of(world, execution))
    hot = Hot(world, fentry, typed_loads=typed)
    expected: Counter[tuple[tuple[int, ...], str]] = Counter()
    for turn in range(3):
        for stack in stacks[: 2 + turn]:
            hot.hit(stack, random.randint(0, 1))
            expected[stack.addresses, "whole"] += 1
        hot.make(hot.start(random.randint(0, 1)) if not fentry else None)
    assert hot.counts() == expected
    assert balanced(hot)
    assert hot.loaded.counters() == {}
    hot.close()


@pytest.mark.parametrize(("layout", "kind"), CASES)
@given(random=RANDOMS, fentry=st.booleans(), typed=st.integers(0, 1))
def test_stacks_of_each_kind_are_taken(
    layout: Layout, kind: str, random: Random, fentry: bool, typed: int
) -> None:
    world = new_world(layout, random)
    stacks = [build(world, kind) for _ in range(3)]
    alone = [stack.alone(fentry, typed_loads=typed)[0] for stack in stacks]
    hot = Hot(world, fentry, typed_loads=typed)
    for stack in stacks:
        hot.hit(stack)
    whole = {next(iter(counts)) for counts in alone if "whole" in next(iter(counts))}
    assert hot.make() == len(whole), hot.refused
    if kind != "early":
        assert [*hot.counts()] == [*dict.fromkeys((s.addresses, "whole") for s in stacks)]
    for stack, counts in zip(stacks, alone, strict=True):
        assert hot.outcome(stack) == (counts, {})
    assert hot.missed == len([counts for counts in alone if next(iter(counts)) not in whole])
    assert hot.taken == 3 - hot.missed
    assert balanced(hot)
    hot.close()


@by_layout
@by_attach
@given(random=RANDOMS)
def test_stacks_known_on_one_cpu_are_walked_on_another_one(
    layout: Layout, fentry: bool, random: Random
) -> None:
    world = new_world(layout, random)
    stack, other = (build(world, random.choice(kinds(layout.frame_pointers))) for _ in "ab")
    expected = stack.alone(fentry)
    hot = Hot(world, fentry, cpus=3)
    hot.hit(other, 2)
    hot.hit(stack, 1)
    assert hot.make(hot.start(1))
    assert hot.takes(stack, 1)
    before = hot.missed
    assert hot.outcome(stack, 0) == expected
    assert hot.missed == before + 1
    assert hot.outcome(stack, 0) == expected  # its node is known to no program yet
    hot.fill(path for path in hot.reader.read() if path.key in hot.numbers)
    assert hot.takes(stack, 0)
    assert hot.takes(stack, 1)
    assert not hot.takes(stack, 2)
    for cpu, hits in enumerate((3, 3, 2)):
        assert hot.loaded.hits_of(cpu) == hits
    assert balanced(hot)
    hot.close()


@by_layout
@by_attach
@given(random=RANDOMS)
def test_stacks_that_share_callers_are_distinguished(
    layout: Layout, fentry: bool, random: Random
) -> None:
    """Some end where others go on; some part at the outermost frame only."""
    world = new_world(layout, random)
    stacks = []
    for number in range(4):
        state = random.getstate()
        random.seed(number // 2)
        stack = build(world, "user")
        random.setstate(state)
        stacks.append(stack)
        outermost = stack.execution.slots[0]
        word = stack.world.kernel.memory.word(outermost)
        if stack.world.syscall.start + 34 < word:
            stacks.append(stack.changed({outermost: word - 1}))
    alone = [stack.alone(fentry) for stack in stacks]
    hot = Hot(world, fentry)
    for stack in stacks:
        hot.hit(stack)
    assert hot.make()
    for stack, expected in zip(stacks, alone, strict=True):
        assert hot.outcome(stack) == expected
    assert hot.missed == 0
    hot.close()


@pytest.mark.parametrize("layout", FP, ids=repr)
@by_attach
@given(random=RANDOMS)
def test_frames_of_changing_size_are_found_by_their_pointer(
    layout: Layout, fentry: bool, random: Random
) -> None:
    """The same addresses at other places: taken, or walked, but never lost."""
    world = World(layout, random, functions=6, modules=0, programs=0, static=0.4)
    state = random.getstate()
    stacks = []
    for number in range(3):
        random.setstate(state)
        stack = build(world, random.choice(("user", "softirq")))
        stacks.append(_stretched(stack, number))
    expected = stacks[0].alone(fentry)
    assert stacks[0].addresses == stacks[1].addresses
    hot = Hot(world, fentry)
    hot.hit(stacks[0])
    assert hot.make() == 1
    for stack in stacks:
        assert hot.outcome(stack) == expected
    assert hot.missed == 0
    hot.close()


def _stretched(stack: Stack, words: int) -> Stack:
    """Return the same calls, with more words in each frame that is not static."""
    world, old = stack.world, stack.execution
    new = Execution(world.kernel, old.random, world.kernel.new_task())
    new.from_user(world.syscall)
    bodies = [*world.functions, world.switching]
    for number, address in enumerate(old.addresses):
        slot = new.push(address)
        new.addresses.append(address)
        new.slots.append(slot)
        if number + 1 == len(old.addresses):
            break
        inner = old.addresses[number + 1]
        body = next(b for b in bodies if b.start < inner <= b.end)
        new.push(new.fp)
        new.fp = new.sp
        for _ in range(body.room + (0 if body.static else words)):
            new.push(FALLBACK)
        if body is world.switching:
            new.switch_stack()
    return Stack.of(world, new)


@pytest.mark.parametrize("layout", FP, ids=repr)
@given(random=RANDOMS)
def test_static_frames_need_no_frame_pointer(layout: Layout, random: Random) -> None:
    """Less instructions run, and the places are those of the tree."""
    world = World(layout, random, functions=6, modules=0, programs=0, static=1.0)
    stack = build(world, "user", calls=6)
    ran = []
    for static in (True, False):
        hot = Hot(world, False, typed_loads=1)
        if not static:
            hot.is_static = lambda address: False  # type: ignore[method-assign]
        hot.hit(stack)
        assert hot.make() == 1
        assert hot.takes(stack)
        assert hot.program
        ran.append(hot.program.ran)
        hot.close()
    assert ran[0] < ran[1]


@pytest.mark.parametrize("layout", ORC, ids=repr)
def test_programs_take_few_instructions_a_frame(layout: Layout) -> None:
    world = World(layout, Random(3), functions=6, modules=0, programs=0, plain=True)
    counted = []
    for calls in (2, 12):
        execution = Execution(world.kernel, world.random, world.kernel.new_task())
        execution.from_user(world.syscall)
        body = next(b for b in world.functions if b.kind == "sp")
        for _ in range(calls):
            execution.call(body)
        execution.call(world.func, prologue=False)
        stack = Stack.of(world, execution)
        hot = Hot(world, False, typed_loads=1)
        hot.hit(stack)
        assert hot.make() == 1
        assert hot.takes(stack)
        assert hot.program
        counted.append(hot.program.ran)
        hot.close()
    assert counted[1] - counted[0] == 10 * 2


@pytest.mark.parametrize("layout", ORC, ids=repr)
@by_attach
@pytest.mark.parametrize("saved", [("bp", 0), ("cfa", -16)], ids=["by-bp", "by-cfa"])
@given(random=RANDOMS)
def test_frames_whose_pointer_is_saved_at_another_are_not_mistaken(
    layout: Layout, fentry: bool, saved: tuple[str, int], random: Random
) -> None:
    """Such a rule is refused, the same one by the CFA is followed; both are walked right."""
    rule = Orc("call", "bp", 16, *saved)
    world = World(layout, random, functions=6, modules=0, programs=0, odd=rule)
    execution = Execution(world.kernel, random, world.kernel.new_task())
    execution.from_user(world.syscall)
    for body in (world.framed, Body(world.odd.function, "bp", room=1), world.framed):
        execution.call(body)
    execution.call(world.func, prologue=False)
    stack = Stack.of(world, execution)
    hot = Hot(world, fentry)
    hot.hit(stack)
    made = hot.make()
    assert made == (rule.bp != "bp"), hot.refused
    assert hot.takes(stack) == bool(made)
    assert hot.counts() == {(stack.addresses, "whole"): 2}
    hot.close()
