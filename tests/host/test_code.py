# SPDX-License-Identifier: MIT
"""Classification of code addresses: modules, BPF programs, ftrace's copies, kprobe slots."""

from __future__ import annotations

from random import Random

import pytest
from built import X86
from code_lists import Placed
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import ALL, V6_1, V6_12, Layout
from loaded import Loaded
from machine import make
from objects import IRQ_STACK, STACK_SIZE, TASK_STACK
from worlds import RANDOMS, Reader, World

from kwalk.abi import Source
from kwalk.kernel.modules import Module
from kwalk.symbolize.dynamic_code import code_of_module, code_of_program

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS, phase=st.integers(0, 5), number=st.integers(1, 9))
def test_module_code_is_known_by_its_load(
    layout: Layout, random: Random, phase: int, number: int
) -> None:
    """In either copy of the tree, however many modules there are."""
    world = World(layout, random, modules=number)
    kernel = world.kernel
    kernel.write_modules(phase)
    kernel.ruin_other_copy(kernel.mod_tree, phase)
    body = random.choice(world.modular)
    execution = world.through(body)
    loaded = Loaded(kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, hits),) = Reader(loaded).stacks().items()
    assert (stack.addresses[1:], hits) == (tuple(execution.callers), 2)
    module = next(m for m in kernel.modules if body.start in m.text)
    expected = code_of_module(Module(module.name, module.text.start, 0x1000, "Live", module.number))
    assert stack.codes[1] == expected == Source.MODULE << 32 | module.number
    loaded.close()


@by_layout
@given(random=RANDOMS, phase=st.integers(0, 5), number=st.integers(1, 9))
def test_bpf_code_is_known_by_its_name(
    layout: Layout, random: Random, phase: int, number: int
) -> None:
    world = World(layout, random, programs=number)
    kernel = world.kernel
    kernel.write_programs(phase)
    kernel.ruin_other_copy(kernel.bpf_tree, phase)
    chosen = random.randrange(number)
    execution = world.through(world.bpf[chosen])
    loaded = Loaded(kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, hits),) = Reader(loaded).stacks().items()
    assert (stack.addresses[1:], hits) == (tuple(execution.callers), 2)
    assert stack.codes[1] == code_of_program(kernel.programs[chosen].name)
    loaded.close()


@by_layout
@pytest.mark.parametrize("same_rule", [True, False])
@given(random=RANDOMS)
def test_module_code_that_goes_is_not_taken_for_what_comes(
    layout: Layout, same_rule: bool, random: Random
) -> None:
    """A module at the address of another one: other frames, even if the rules are the same."""
    world = World(layout, random, modules=1, programs=0)
    kernel, old = world.kernel, world.kernel.modules[0]
    body = world.modular[0]
    execution = world.through(body)
    new = Placed("new", type(old.text)(old.text.start, old.text.size), 2000)
    kind = "bp" if layout.frame_pointers else body.kind
    room = body.room + (0 if same_rule else 1)
    gap = body.start - old.text.start
    size = body.function.size
    made = make(new.text, kind, saves=body.saves, above=body.above, room=room, size=size, gap=gap)
    kernel.add_placed(new)
    loaded = Loaded(kernel, func=world.func.start)
    regs = execution.regs(world.func.start)
    for _ in range(3):
        loaded.run("kw_kprobe", regs)
    before = {at: kernel.memory.read(at, STACK_SIZE) or b"" for at in (TASK_STACK, IRQ_STACK)}
    kernel.write_modules(4, loaded=[new])
    if same_rule or layout.frame_pointers:
        after = execution
    else:
        after = world.through(made)
        regs = after.regs(world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", regs)
    kernel.write_modules(6, loaded=[old])
    for at, data in before.items():
        kernel.memory.put(at, data)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    found = {
        (stack.addresses[1:], stack.codes[1]): n for stack, n in Reader(loaded).stacks().items()
    }
    base = Source.MODULE << 32
    assert found == {
        (tuple(execution.callers), base | 1000): 4,
        (tuple(after.callers), base | 2000): 2,
    }
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_bpf_code_that_goes_is_not_taken_for_what_comes(layout: Layout, random: Random) -> None:
    world = World(layout, random, programs=1)
    kernel, old = world.kernel, world.kernel.programs[0]
    execution = world.through(world.bpf[0])
    new = Placed("bpf_prog_another", old.text)
    loaded = Loaded(kernel, func=world.func.start)
    regs = execution.regs(world.func.start)
    for number, program in enumerate((old, old, new, old, new)):
        if number > 1:
            kernel.write_programs(2 * number, loaded=[program])
        loaded.run("kw_kprobe", regs)
    found = {
        (stack.addresses[1:], stack.codes[1]): n for stack, n in Reader(loaded).stacks().items()
    }
    callers = tuple(execution.callers)
    assert found == {
        (callers, code_of_program(old.name)): 3,
        (callers, code_of_program(new.name)): 2,
    }
    loaded.close()


@by_layout
@pytest.mark.parametrize("tree", ["modules", "programs"])
@given(random=RANDOMS, at=st.integers(0, 160))
def test_tree_that_changes_during_a_walk_leads_to_no_wrong_frame(
    layout: Layout, tree: str, random: Random, at: int
) -> None:
    """The code goes at any load of the walk: then the frame is there or not, or nobody knows."""
    world = World(layout, random, modules=3, programs=3)
    kernel = world.kernel
    bodies = world.modular if tree == "modules" else world.bpf
    execution = world.through(random.choice(bodies), random.choice(world.functions))
    loaded = Loaded(kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 77)

    gone = []

    def go() -> None:
        gone.append(at)
        write = kernel.write_modules if tree == "modules" else kernel.write_programs
        write(1, loaded=[])  # the other copy now; what readers look at is changed afterwards
        write(2, loaded=[])

    with loaded.pause(at, go):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((found, how),) = Reader(loaded).counts()
    whole = (world.func.start, *execution.callers)
    assert (found, how) in ((whole, "whole"), (whole[:2], "whole"), ((whole[0], 77), "fallback"))
    if not gone:
        go()
    # From now on it is not code, which arm64's unwinder does not ask for.
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    shown = whole[:2] if X86 else whole
    assert Reader(loaded).counts()[shown, "whole"] >= 1
    loaded.close()


@pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)
@pytest.mark.parametrize("tree", ["modules", "programs"])
@given(random=RANDOMS, grows=st.booleans())
@settings(max_examples=50)
def test_tree_that_changes_around_code_that_stays_does_not_hide_it(
    layout: Layout, tree: str, random: Random, grows: bool
) -> None:
    """Others come and go, nodes are moved under the search: it is asked for anew, or not known."""
    world = World(layout, random, modules=7, programs=7, plain=True)
    kernel = world.kernel
    body = random.choice(world.modular if tree == "modules" else world.bpf)
    execution = world.through(body)
    every = kernel.modules if tree == "modules" else kernel.programs
    write = kernel.write_modules if tree == "modules" else kernel.write_programs
    some = [each for each in every if body.start in each.text or random.random() < 0.3]
    before, after = (some, every) if grows else (every, some)
    write(0, loaded=before)
    loaded = Loaded(kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 77)

    def change() -> None:
        write(1, loaded=after)  # the same as before to those that look now
        write(2, loaded=after)

    with loaded.pause(random.randint(7, 18), change):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((found, how),) = Reader(loaded).counts()
    whole = (world.func.start, *execution.callers)
    assert (found, how) in ((whole, "whole"), ((whole[0], 77), "fallback"))
    loaded.close()


def test_module_without_sysfs_has_no_number() -> None:
    world = World(V6_12, Random(4), modules=1, without=frozenset({"struct kernfs_node, id"}))
    execution = world.through(world.modular[0])
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, _),) = Reader(loaded).stacks().items()
    assert stack.addresses[1:] == tuple(execution.callers)
    assert not any(stack.codes)
    loaded.close()
