# SPDX-License-Identifier: MIT
"""Levels of programs: hits that come while a program runs, at any point of it."""

from __future__ import annotations

import struct
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel import Kernel
from layouts import ALL, FP_NEW, V6_1, V6_12, Layout
from loaded import Loaded
from machine import Execution
from trampoline import Trampolines
from worlds import RANDOMS, Reader, World

from kwalk.abi import ACTIVE, LEVELS, Output, Per
from kwalk.decode.records import Calls
from kwalk.decode.short import ShortRecords
from kwalk.decode.verify import DifferenceCollector
from kwalk.hot.paths import PathReader
from kwalk.model.event import Event
from kwalk.model.ledger import Ledger

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12, FP_NEW], ids=repr)
by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
LONGEST = 90  # loads and look-ups of a hit, or more


def executions(world: World, number: int) -> list[Execution]:
    """Return stacks that end at FUNC, each of a task of its own."""
    found = []
    for _ in range(number):
        execution = world.begin(world.kernel.new_task())
        world.go(execution, world.random.randint(0, 4))
        execution.call(world.func, prologue=False)
        found.append(execution)
    return found


class Interrupts:
    """Calls of FUNC that interrupt programs, at random points and up to a depth."""

    def __init__(self, all_: Trampolines, random: Random, stacks: list[Execution]) -> None:
        self.all, self.random, self.stacks = all_, random, stacks
        self.state = all_.loaded.cpus[0].state

    def hit(self, depth: int) -> None:
        """Call FUNC, and interrupt that ``depth`` times, each time within the last one."""
        stack = self.stacks[depth]
        if not depth:
            self.all.call(stack)
            return
        left = [1]

        def interrupt() -> None:
            if not left:
                return
            left.clear()
            tick, between = self.state.tick, self.all.between
            self.hit(depth - 1)
            self.state.tick, self.all.between = tick, between

        if self.random.random() < 0.2:  # between two programs, or right before or behind one
            skip = [self.random.randint(0, 6)]

            def between() -> None:
                skip[0] -= 1
                if skip[0] < 0:
                    interrupt()

            self.all.between = between
            self.all.call(stack)
            self.all.between = lambda: None
            return
        self.all.between = lambda: None
        with self.all.loaded.pause(self.random.randint(0, LONGEST), interrupt):
            self.all.call(stack)


def settled(all_: Trampolines) -> None:
    """Assert that all flags are as before the first hit."""
    memory = all_.world.kernel.memory
    flags = [memory.read(all_.active(level, cpu), 4) for level in range(LEVELS) for cpu in (0, 1)]
    assert set(flags) == {bytes(4)}


@layouts
@given(random=RANDOMS)
def test_every_nested_hit_is_taken_by_one_level(layout: Layout, random: Random) -> None:
    """Interrupts nest, so that what levels below are doing is what the kernel saw."""
    world = World(layout, random)
    stacks = executions(world, LEVELS)
    all_ = Trampolines(world, LEVELS)
    interrupts = Interrupts(all_, random, stacks)
    for _ in range(6):
        interrupts.hit(random.randint(0, LEVELS - 1))
    settled(all_)
    assert all_.taken() == all_.misses[0]
    assert all_.loaded.tree.hits_of(0) == all_.hits.total() - all_.misses[0]
    assert Reader(all_.loaded).counts() == {
        (stack, "whole"): number for stack, number in all_.hits.items()
    }
    all_.close()


@layouts
@given(random=RANDOMS, levels=st.integers(1, LEVELS))
def test_hits_beyond_the_levels_are_those_that_the_kernel_refused(
    layout: Layout, random: Random, levels: int
) -> None:
    world = World(layout, random)
    stacks = executions(world, LEVELS + 2)
    all_ = Trampolines(world, levels)
    interrupts = Interrupts(all_, random, stacks)
    for _ in range(6):
        interrupts.hit(LEVELS + 1)
    settled(all_)
    lost = all_.misses[0] - all_.taken()
    assert lost >= 0
    assert sum(Reader(all_.loaded).counts().values()) == all_.hits.total() - lost
    assert levels > 1 or lost == all_.misses[0]
    all_.close()


@layouts
@pytest.mark.parametrize("typed", [0, 1])
@given(random=RANDOMS)
def test_program_that_finds_nothing_nested_counts_nothing(
    layout: Layout, typed: int, random: Random
) -> None:
    world = World(layout, random)
    (stack,) = executions(world, 1)
    all_ = Trampolines(world, LEVELS, typed_loads=typed)
    for cpu in (0, 1, 0):
        all_.call(stack, cpu)
    assert [all_.loaded.tree.hits_of(level) for level in range(LEVELS)] == [3, 0, 0]
    assert all_.misses == [0] * LEVELS
    all_.close()


@given(random=RANDOMS, byte=st.integers(0, 3))
def test_flag_is_read_as_four_bytes(random: Random, byte: int) -> None:
    """arm64 has one for each kind of context since 7.0; what lies beside them is another's."""
    world = World(V6_12, random)
    (stack,) = executions(world, 1)
    all_ = Trampolines(world, 2)
    at = all_.active(0, 0)
    for value, taken in ((0, 0), (1 << 8 * byte, 1)):
        world.kernel.memory.put_int(at, value)
        context = stack.trampoline(world.func.start, 2)
        all_.loaded.cpus[0].state.task = stack.task
        all_.loaded.cpus[0].state.arguments = 2
        all_._enter(1, context, 0)
        assert all_.taken() == taken
    all_.close()


@layouts
@given(random=RANDOMS)
def test_levels_keep_apart_what_they_compare(layout: Layout, random: Random) -> None:
    """With --verify each hit is compared; its stack is in a buffer while others are taken."""
    world = World(layout, random)
    stacks = executions(world, LEVELS)
    settings = {"verify": 1, "slow": 1, "output": Output.EVENT}
    all_ = Trampolines(world, LEVELS, **settings)
    state = all_.loaded.cpus[0].state

    def call(stack: Execution) -> None:
        before = list(state.stack), state.stacked
        all_.loaded.cpus[0].unwinds(world.func.start + 5, *stack.callers)
        original(stack)
        state.stack[0 : len(before[0])], state.stacked = before[0], before[1]

    original, all_.call = all_.call, call  # type: ignore[method-assign, assignment]
    interrupts = Interrupts(all_, random, stacks)
    for _ in range(4):
        interrupts.hit(LEVELS - 1)
    number = all_.hits.total()
    assert all_.counters() == {"checked": number}
    events = streamed(all_)
    assert Counter(event.stack.addresses for event in events) == all_.hits
    assert {event.who.cpu for event in events} == {0}
    all_.close()


def streamed(all_: Trampolines) -> list[Event]:
    """Return the events of all records."""
    contexts = Reader(all_.loaded).contexts
    records = ShortRecords(contexts, DifferenceCollector(contexts, 1), Calls(), cpus=2)
    runs = all_.loaded.ring.batch(records.size)
    return [event for run in runs for event in records.batch(run, Ledger()).events()]


@given(random=RANDOMS)
def test_groups_of_nested_hits_are_their_own(random: Random) -> None:
    world = World(V6_12, random)
    stacks = executions(world, LEVELS)
    all_ = Trampolines(world, LEVELS, per=Per.PID, slow=1)
    interrupts = Interrupts(all_, random, stacks)
    for _ in range(4):
        interrupts.hit(LEVELS - 1)
    found = Reader(all_.loaded, Per.PID).groups()
    assert {stack: n for (stack, _), n in found.items()} == dict(all_.hits)
    all_.close()


def test_stacks_of_nested_hits_are_left_to_the_walk() -> None:
    """Generated programs belong to level 0: they know where stacks end in its parts only."""
    # Of code that stays.
    world = World(V6_12, Random(2), modules=0, programs=0, plain=True)
    first, second = executions(world, 2)
    all_ = Trampolines(world, 2)
    all_.call(first)
    world.kernel.memory.put_int(all_.active(0, 1), 1)  # as if level 0 were running
    all_.call(second, 1)
    tree = all_.loaded.tree
    assert [tree.hits_of(level) for level in range(2)] == [1, 1]
    leaves = {tree.level_of(at): at for at, _ in tree.counted()}
    assert [tree.cpu_of(leaves[level]) for level in range(2)] == [0, 1]
    paths = PathReader(tree, 2).read()
    assert [path.nodes for path in paths] == [{0: leaves[0]}]
    all_.close()


def test_programs_tell_where_the_kernel_counts_that_they_run() -> None:
    kernel = Kernel(V6_12)
    aux = kernel.object("struct bpf_prog_aux")
    kernel.memory.put_int(kernel.at(aux, "struct bpf_prog_aux", "id"), 77)
    program = kernel.object("struct bpf_prog", active=0x1234, aux=aux)
    loaded = Loaded(kernel)
    loaded.run("kw_actives", struct.pack("<QQ", loaded.context_at + 64, program))
    assert ACTIVE.unpack(loaded.written()) == {"active": 0x1234, "id": 77, "reserved": 0}
    loaded.run("kw_actives", bytes(16))
    assert loaded.written() == b""
    loaded.close()
