# SPDX-License-Identifier: MIT
"""Stacks that nearly are known ones: generated programs leave each of them to the walk."""

from __future__ import annotations

from random import Random

import pytest
from hots import Hot, Stack, build, kinds
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, FP, Layout
from objects import IRQ_STACK, STACK_SIZE
from test_hot import new_world
from worlds import RANDOMS, World
from x86.execution import KERNEL_CS, REGISTERS, USER_CS, Execution

IN_REGS = {name: 8 * number for number, name in enumerate(REGISTERS)}
CASES = [
    pytest.param(layout, kind, id=f"{layout!r}-{kind}")
    for layout in ALL
    for kind in kinds(layout.frame_pointers)
]
TRIES = 3


class Known:
    """A probe with a program for some stacks, and what the walk alone says of each hit."""

    def __init__(self, stacks: list[Stack], nears: list[Stack], fentry: bool, typed: int) -> None:
        self.stacks, self.nears = stacks, nears
        # One set of maps: the walk alone goes first.
        self.alone = [near.alone(fentry, typed_loads=typed) for near in nears]
        self.right = [stack.alone(fentry, typed_loads=typed) for stack in stacks]
        self.hot = Hot(stacks[0].world, fentry, typed_loads=typed)
        for stack in stacks:
            self.hot.hit(stack)
        self.hot.make()

    def check(self) -> int:
        """Compare all; return the number of near stacks that were taken."""
        hot, taken = self.hot, 0
        for near, (counts, counters) in zip(self.nears, self.alone, strict=True):
            before = hot.taken
            assert hot.outcome(near) == (counts, counters)
            known = any(counts == right for right, _ in self.right)
            assert known or hot.taken == before
            taken += hot.taken - before
        for stack, right in zip(self.stacks, self.right, strict=True):
            assert hot.outcome(stack) == right
        lost = sum(n for name, n in hot.loaded.counters().items() if name.startswith("lost_"))
        assert hot.loaded.tree.hits() == sum(hot.counts().values()) + lost
        hot.close()
        return taken


def texts(world: World) -> list[int]:
    """Return addresses in functions of the kernel's image."""
    return [body.start + 40 for body in (*world.functions, world.switching)]


def is_static(world: World, address: int) -> bool:
    return any(body.static and body.start + 4 < address <= body.end for body in world.functions)


def other_word(stack: Stack, word: int) -> int:
    """Return another word for a slot: code, or nearly the same address."""
    random = stack.world.random
    near = (word ^ 1 << random.randint(32, 63), word & 0xFFFFFFFF, word + random.choice((-1, 1)))
    return random.choice((*near, *stack.execution.addresses, *texts(stack.world)))


def near_slot(stack: Stack) -> Stack:
    """Change a return address; the true one may still stand beside its slot."""
    random, memory = stack.world.random, stack.world.kernel.memory
    slot = random.choice([slot for slot in stack.execution.slots if slot])
    stack.changed({})
    word = memory.word(slot)
    words = {slot: other_word(stack, word)}
    if random.random() < 0.3 and not stack.world.kernel.layout.frame_pointers:
        words[slot + random.choice((-8, 8))] = word
    return stack.changed(words)


def near_hook(stack: Stack) -> Stack:
    """Replace a return address, as a kretprobe or the graph tracer does."""
    kernel, random = stack.world.kernel, stack.world.random
    slot = random.choice([slot for slot in stack.execution.slots if slot])
    stack.changed({})
    before, kernel.task = kernel.task, stack.execution.task
    replace = random.choice((kernel.rethook, kernel.graph))
    replace(slot, kernel.memory.word(slot))
    kernel.task = before
    return Stack.of(stack.world, stack.execution, stack.start)


def near_registers(stack: Stack) -> Stack:
    """Change a register that an interrupt saved."""
    random, memory = stack.world.random, stack.world.kernel.memory
    regs = random.choice(stack.execution.saved)
    name = random.choice(("cs", "ip", "sp", "bp"))
    at = regs + IN_REGS[name]
    stack.changed({})
    word = memory.word(at)
    if name == "cs":
        value = KERNEL_CS if word & 3 else USER_CS
    elif name == "ip":
        value = other_word(stack, word)
    else:
        value = word + random.choice((-8, 8, -1, 64, 0x4000, -0x4000))
    return stack.changed({at: value})


def near_pointer(stack: Stack) -> Stack:
    """Change a saved frame pointer, or the saved SP of a stack switch.

    In functions with static frames nothing but BP's own writer can change it: not there.
    """
    world, execution = stack.world, stack.execution
    random, memory = world.random, world.kernel.memory
    stack.changed({})
    by = random.choice((-8, 8, 1, -1, 16, 0x1000, -0x1000))
    if random.random() < 0.3:
        at = IRQ_STACK + STACK_SIZE - 8
        return stack.changed({at: memory.word(at) + by})
    frames = list(zip(execution.addresses, execution.slots, strict=True))
    if world.kernel.layout.frame_pointers:
        frames = [frame for frame in frames if not is_static(world, frame[0])]
    if not frames or frames[-1][1] != execution.slots[-1] or random.random() < 0.7:
        frames = [frame for frame in frames if frame[1] and frame[1] != execution.slots[-1]]
        if not frames:
            return stack.changed({})
        slot = random.choice(frames)[1]
        return stack.changed({slot - 8: memory.word(slot - 8) + by})
    return stack.changed({}, bp=execution.fp + by)


def near_word(stack: Stack) -> Stack:
    """Change any word between SP and the outermost frame (by ORC)."""
    world, execution = stack.world, stack.execution
    random, memory = world.random, world.kernel.memory
    if world.kernel.layout.frame_pointers:
        return near_slot(stack)
    slots = [execution.sp, *(slot for slot in execution.slots if slot), *execution.saved]
    at = random.choice(slots) + 8 * random.randint(-1, 25)
    stack.changed({})
    if memory.read(at, 8) is None:
        return stack
    return stack.changed({at: other_word(stack, memory.word(at))})


NEARS = {
    "slot": near_slot,
    "hook": near_hook,
    "registers": near_registers,
    "pointer": near_pointer,
    "word": near_word,
}


@pytest.mark.parametrize(("layout", "kind"), CASES)
@given(
    random=RANDOMS, fentry=st.booleans(), typed=st.integers(0, 1), change=st.sampled_from([*NEARS])
)
def test_near_stacks_are_walked(
    layout: Layout, kind: str, random: Random, fentry: bool, typed: int, change: str
) -> None:
    world = new_world(layout, random)
    stacks = [build(world, kind), build(world, random.choice(kinds(layout.frame_pointers)))]
    nears = [NEARS[change](stacks[0]) for _ in range(TRIES)]
    Known(stacks, nears, fentry, typed).check()


@pytest.mark.parametrize("layout", ALL, ids=repr)
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_each_return_address_is_compared_whole(layout: Layout, random: Random, typed: int) -> None:
    """Each slot in turn, with bits of both halves changed. BP skips one in an early interrupt."""
    world = new_world(layout, random)
    every = [kind for kind in kinds(layout.frame_pointers) if kind != "early"]
    stack = build(world, random.choice(every))
    nears = []
    for slot in filter(None, stack.execution.slots):
        stack.changed({})
        word = world.kernel.memory.word(slot)
        nears += [stack.changed({slot: word ^ bit}) for bit in (1, 1 << 33, 1 << 63)]
        nears.append(stack.changed({slot: word & 0xFFFFFFFF}))
    known = Known([stack], nears, False, typed)
    assert known.check() == 0


@pytest.mark.parametrize("layout", FP, ids=repr)
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_odd_frame_pointers_are_no_records(layout: Layout, random: Random, typed: int) -> None:
    """The kernel's unwinder takes one for registers, even where a true record is copied to it."""
    world = new_world(layout, random)
    stack = build(world, random.choice(kinds(frame_pointers=True)))
    memory = world.kernel.memory
    nears = []
    for slot in filter(None, stack.execution.slots):
        stack.changed({})
        record = memory.word(slot - 8)
        words = [memory.word(at) if memory.read(at, 8) else 0 for at in (record, record + 8)]
        if record & 7 or not all(words):
            continue
        for by in (1, 3):
            copy = {record + by: words[0], record + by + 8: words[1]}
            nears.append(stack.changed({**copy, slot - 8: record + by}))
    assert Known([stack], nears, False, typed).check() == 0


@pytest.mark.parametrize("layout", FP, ids=repr)
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_addresses_at_other_places_are_not_taken(
    layout: Layout, random: Random, typed: int
) -> None:
    """A dynamic frame grew: the old distance has the true address, left from an earlier call."""
    world = World(layout, random, functions=6, modules=0, programs=0, static=0.3)
    stacks = []
    for room in (0, 3):
        execution = Execution(world.kernel, Random(1), world.kernel.new_task())
        execution.from_user(world.syscall)
        for body in world.functions[:3]:
            execution.call(body)
            if not body.static:
                for _ in range(room):
                    execution.push(execution.addresses[-1])
        execution.call(world.func, prologue=False)
        stacks.append(Stack.of(world, execution))
    short, long = stacks
    other = []
    for slot in long.execution.slots:
        other.append(long.changed({slot: texts(world)[-1]}))
    known = Known([short], [long, *other], False, typed)
    taken = known.check()
    assert taken == (long.addresses == short.addresses)
