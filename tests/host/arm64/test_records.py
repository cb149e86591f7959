# SPDX-License-Identifier: MIT
"""The walk by frame records of arm64: exceptions, ends of stacks, records that are damaged."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import ALL, V6_1, V6_12, V7_1, Layout
from loaded import Loaded
from objects import HEAP, IRQ_STACK, NMI_STACK, STACK_SIZE, TASK_STACK
from worlds import RANDOMS, World, counted

from arm64 import reference
from arm64.execution import EL1, FINAL, Execution

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
KERNELS = (77, 78)  # the kernel's own stack
COST = 2  # loads and look-ups of a hit, besides its records


def shown(world: World, execution: Execution, **settings: int) -> tuple[tuple[int, ...], str]:
    """Return the stack of hits of a kprobe on FUNC, on new nodes and on known ones."""
    loaded = Loaded(world.kernel, func=world.func.start, **settings)
    loaded.cpus[0].unwinds(world.func.start, *KERNELS)
    for _ in range(3):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert loaded.counters() == {}
    ((found, hits),) = counted(loaded).items()
    assert hits == 3
    return found


def right(world: World, execution: Execution) -> tuple[tuple[int, ...], str]:
    """Return the stack by the kernel's rules, or its own one if it stops with an error."""
    try:
        callers = reference.stack(reference.from_entry(execution))
    except reference.Unsure:
        return (world.func.start, *KERNELS), "fallback"
    return (world.func.start, *callers), "whole"


def damaged(world: World, execution: Execution) -> None:
    """Overwrite FP, the FP of some record, or the record of an exception."""
    random, kernel = world.random, world.kernel
    memory = kernel.memory
    records = [slot - 8 for slot in execution.slots if slot]
    frames = [kernel.at(regs, "struct pt_regs", "stackframe") for regs in execution.saved]
    values = [*records, *frames, *execution.saved, execution.sp, 0, 1, HEAP, 0x7F0000001000]
    values += [record + random.choice((1, 2, 4, 8, -8, 16)) for record in records]
    values += [IRQ_STACK + 64, IRQ_STACK + STACK_SIZE - 16, NMI_STACK + 64]
    values += [TASK_STACK + STACK_SIZE, TASK_STACK + STACK_SIZE - 8, TASK_STACK - 16]
    values += [TASK_STACK + 8 * random.randrange(STACK_SIZE // 8) for _ in range(4)]
    kind = random.random()
    if kind < 0.2:
        execution.fp = random.choice(values)
    elif kind < 0.8:
        memory.put_word(random.choice(records), random.choice(values))
    else:
        at = random.choice(frames) + 8 * random.randint(0, 2)
        memory.put_word(at, random.choice([*values, 2, 3]))


@by_layout
@pytest.mark.parametrize("typed", [0, 1])
@given(random=RANDOMS)
@settings(max_examples=100)
def test_walk_of_damaged_records_goes_as_far_as_the_kernel(
    layout: Layout, typed: int, random: Random
) -> None:
    """Where the kernel's unwinder stops with an error it is asked, and no frame is guessed."""
    world = World(layout, random)
    execution = world.stacked(5)
    damaged(world, execution)
    loaded = Loaded(world.kernel, func=world.func.start, typed_loads=typed)
    loaded.cpus[0].unwinds(world.func.start, *KERNELS)
    for _ in range(3):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    fallback = (world.func.start, *KERNELS), "fallback"
    assert set(counted(loaded)) <= {right(world, execution), fallback}


@by_layout
@given(random=RANDOMS, deep=st.booleans())
def test_walk_asks_the_kernel_where_records_go_in_a_circle(
    layout: Layout, random: Random, deep: bool
) -> None:
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(2, 60 if deep else 5))
    execution.call(world.func, prologue=False)
    records = [slot - 8 for slot in execution.slots if slot]
    number = random.randrange(len(records))
    world.kernel.memory.put_word(records[number], random.choice(records[number:]))
    assert shown(world, execution)[1] == "fallback"


@by_layout
@given(random=RANDOMS, by=st.sampled_from([0, 1, 2, 4, 7]))
def test_record_is_aligned(layout: Layout, random: Random, by: int) -> None:
    """A copy of one at another place is as good as it, but not at every address."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 3)
    memory = world.kernel.memory
    place = execution.push(*(0,) * 4) + by
    memory.put(place, memory.read(execution.fp, 16) or b"")
    execution.call(world.func, prologue=False)
    execution.fp = place
    found = shown(world, execution)
    assert found == right(world, execution)
    assert found[1] == ("fallback" if by else "whole")


@by_layout
@given(random=RANDOMS)
def test_records_do_not_overlap(layout: Layout, random: Random) -> None:
    """FP within the record that it was loaded from, and where another one could be."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 4)
    execution.call(world.func, prologue=False)
    memory = world.kernel.memory
    callers = [slot - 8 for slot in execution.slots if slot]
    memory.put_word(callers[-2], callers[-2] + 8)
    memory.put_word(callers[-2] + 8, callers[-3])
    memory.put_word(callers[-2] + 16, world.functions[0].start + 40)
    assert shown(world, execution)[1] == right(world, execution)[1] == "fallback"


@by_layout
@given(random=RANDOMS)
def test_walk_goes_on_where_an_exception_changed_stacks(layout: Layout, random: Random) -> None:
    """The interrupted code was on the interrupt stack: its SP tells, in its registers."""
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.switching)
    execution.switch_stack()
    world.go(execution, random.randint(1, 3))
    sp = execution.sp
    execution.sp = NMI_STACK + STACK_SIZE
    execution.interrupt(world.interrupt, sp=sp)
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    expected = ((world.func.start, *execution.callers), "whole")
    assert shown(world, execution) == right(world, execution) == expected


@by_layout
@given(random=RANDOMS)
def test_known_stack_costs_its_records_and_little_more(layout: Layout, random: Random) -> None:
    """One read of a record, or two typed loads, for each frame; the last one is not read."""
    world = World(layout, random, modules=0, programs=0)
    execution = world.begin()
    world.go(execution, random.randint(0, 20))
    execution.call(world.func, prologue=False)
    loaded = Loaded(world.kernel, func=world.func.start)
    state = loaded.cpus[0].state
    costs = []
    for _ in range(4):
        state.tick = 0
        loaded.run("kw_kprobe", execution.regs(world.func.start))
        costs.append(int(state.tick))
    records = sum(1 for slot in execution.slots if slot)
    typed = int(layout.rdonly_cast)  # then the loop's last address is loaded twice
    assert costs[-1] == costs[-2] == records * (1 + typed) + typed + COST
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_walk_goes_on_behind_an_interrupted_prologue(layout: Layout, random: Random) -> None:
    """A function that has no record yet hides its caller from the kernel's unwinder."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 2)
    body = world.any_function()
    execution.call(body, prologue=False)
    execution.interrupt(world.interrupt, body.start)
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    expected = right(world, execution)
    assert len(expected[0]) == len(execution.callers)
    assert shown(world, execution) == expected


@by_layout
@given(random=RANDOMS)
def test_walk_goes_through_nested_exceptions(layout: Layout, random: Random) -> None:
    """Each in entry code, in the handler, or on the interrupt stack."""
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.switching)
    execution.switch_stack()
    for _ in range(random.randint(1, 4)):
        world.go(execution, random.randint(0, 2))
        execution.interrupt(random.choice((world.interrupt, world.nmi)))
    world.go(execution, random.randint(1, 3))
    execution.call(world.func, prologue=False)
    expected = ((world.func.start, *execution.callers), "whole")
    assert shown(world, execution) == right(world, execution) == expected


@by_layout
@given(random=RANDOMS)
def test_walk_follows_a_record_of_what_the_firmware_interrupted(
    layout: Layout, random: Random
) -> None:
    """__sdei_asm_handler() makes an ordinary record, on a stack of its own."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 4))
    body = execution.current
    assert body
    at = body.start + 40
    execution.addresses.append(at)
    execution.slots.append(0)
    execution.sp = NMI_STACK + STACK_SIZE
    execution.record(at)
    execution.current = world.unknown
    world.go(execution, random.randint(0, 3))
    execution.call(world.func, prologue=False)
    expected = ((world.func.start, *execution.callers), "whole")
    assert shown(world, execution) == right(world, execution) == expected


@pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)
@given(random=RANDOMS)
def test_record_of_an_exception_is_like_any_other_without_entry_code(
    layout: Layout, random: Random
) -> None:
    """Until 6.12 it leads on even where the symbols of entry code are unknown."""
    world = World(layout, random)
    execution = world.stacked()
    found = shown(world, execution, entry_start=0, entry_end=0)
    assert found == ((world.func.start, *execution.callers), "whole")


@given(random=RANDOMS)
def test_record_with_a_type_needs_entry_code(random: Random) -> None:
    """Since 6.13 it is zeros: on the fast path, which takes it for another, the kernel is asked."""
    world = World(V7_1, random)
    execution = world.begin()
    execution.interrupt(world.interrupt)
    world.go(execution, 1)
    execution.call(world.func, prologue=False)
    loaded = Loaded(world.kernel, func=world.func.start, entry_start=0, entry_end=0)
    loaded.cpus[0].unwinds(world.func.start, *KERNELS)
    for _ in range(3):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    fallback = (world.func.start, *KERNELS), "fallback"
    whole = (world.func.start, *execution.callers), "whole"
    assert counted(loaded) == {whole: 1, fallback: 2}


@pytest.mark.parametrize("kind", [0, FINAL, 3, 1 << 32 | 2])
@given(random=RANDOMS)
def test_record_of_an_unknown_type_is_left_to_the_kernel(kind: int, random: Random) -> None:
    world = World(V7_1, random)
    execution = world.begin()
    place = execution.interrupt(world.interrupt)
    frame = world.kernel.at(place, "struct pt_regs", "stackframe")
    world.kernel.memory.put_word(frame + 16, kind)
    world.go(execution, 1)
    execution.call(world.func, prologue=False)
    assert shown(world, execution) == right(world, execution)
    assert shown(world, execution)[1] == "fallback"


@by_layout
@given(random=RANDOMS, thread=st.booleans())
def test_frame_that_is_rarely_the_last_one_can_be(
    layout: Layout, random: Random, thread: bool
) -> None:
    """A function below user space's registers, which has callers in other stacks."""
    world = World(layout, random, modules=0, programs=0)
    kernel = world.kernel
    body = world.functions[0]
    inner = Execution(kernel, random, kernel.new_task())
    inner.from_user(world.syscall)
    inner.call(world.functions[1])
    inner.call(body)
    inner.call(world.func, prologue=False)
    last = Execution(kernel, random, kernel.new_task())
    last.from_user(body, EL1 if thread else 0)
    last.call(world.func, prologue=False)
    last.lr = inner.lr  # at the same place
    last.addresses[-1] = inner.addresses[-1]
    loaded = Loaded(kernel, func=world.func.start)
    expected: dict[tuple[tuple[int, ...], str], int] = {}
    for execution in random.choices((inner, last), k=6):
        loaded.cpus[0].state.task = execution.task
        loaded.run("kw_kprobe", execution.regs(world.func.start))
        key = (world.func.start, *execution.callers), "whole"
        expected[key] = expected.get(key, 0) + 1
    assert counted(loaded) == expected


@by_layout
@given(random=RANDOMS, size=st.sampled_from([0x8000, 0x10000]))
def test_walk_goes_over_a_task_stack_of_any_size(layout: Layout, random: Random, size: int) -> None:
    """With pages of 64 KiB, and with KASAN, stacks are larger, and frames lie further apart."""
    world = World(layout, random)
    kernel = world.kernel
    kernel.stack_size = size
    big = kernel.memory.area(TASK_STACK + 0x300000, size)
    kernel.set(kernel.task, "struct task_struct", stack=big)
    execution = world.begin()
    execution.sp -= size - 0x2000  # an array
    execution.call(world.functions[1])
    execution.call(world.func, prologue=False)
    expected = ((world.func.start, *execution.callers), "whole")
    assert shown(world, execution) == right(world, execution) == expected


@by_layout
@given(random=RANDOMS)
def test_walk_gives_up_where_fp_leaves_the_stack(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    execution.fp = HEAP  # memory, and not a stack
    assert shown(world, execution) == ((world.func.start, *KERNELS), "fallback")
