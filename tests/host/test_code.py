# SPDX-License-Identifier: MIT
"""Classification of code addresses: modules, BPF programs, ftrace's copies, kprobe slots."""

from __future__ import annotations

from random import Random

import pytest
from code_lists import Placed
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import ALL, ORC, V6_1, V6_12, Layout
from loaded import Loaded
from objects import IRQ_STACK, SLOTS, STACK_SIZE, TASK_STACK
from worlds import RANDOMS, Reader, World
from x86.execution import Execution, make

from kwalk.abi import Source
from kwalk.kernel.modules import Module
from kwalk.model.stack import Stack
from kwalk.symbolize.dynamic_code import code_of_module, code_of_program

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


def stacks(loaded: Loaded) -> dict[Stack, int]:
    """Return the stacks, with the codes of their frames."""
    reader = Reader(loaded)
    found: dict[Stack, int] = {}
    for offset, node in loaded.tree.counted():
        stack = reader.contexts.stack(offset)
        assert stack is not None
        found[stack] = found.get(stack, 0) + node.ended
    return found


def through(world: World, *bodies: object) -> Execution:
    """Return an execution that calls FUNC through these functions."""
    execution = world.begin()
    for body in bodies:
        execution.call(body)  # type: ignore[arg-type]
    execution.call(world.func, prologue=False)
    return execution


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
    execution = through(world, body)
    loaded = Loaded(kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, hits),) = stacks(loaded).items()
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
    execution = through(world, world.bpf[chosen])
    loaded = Loaded(kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, hits),) = stacks(loaded).items()
    assert (stack.addresses[1:], hits) == (tuple(execution.callers), 2)
    assert stack.codes[1] == code_of_program(kernel.programs[chosen].name)
    loaded.close()


@by_layout
@given(random=RANDOMS, at=st.sampled_from([0, 1, 40, 95, 96, 97]))
def test_bpf_code_reaches_to_behind_its_last_call(layout: Layout, random: Random, at: int) -> None:
    """The kernel takes the byte behind a program for its own; the next one is no code."""
    world = World(layout, random, programs=3)
    execution = through(world, world.bpf[1], world.functions[0])
    address = world.bpf[1].start + at
    world.kernel.memory.put_word(execution.slots[-2], address)
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    callers = [execution.callers[0], address, *execution.callers[2:]]
    expected = (world.func.start, *(callers if at <= 96 else callers[:1]))
    assert Reader(loaded).counts() == {(expected, "whole"): 2}
    loaded.close()


@by_layout
@given(random=RANDOMS, at=st.sampled_from([-1, 0, 1, 4095, 4096]))
def test_module_code_is_its_text_and_no_more(layout: Layout, random: Random, at: int) -> None:
    world = World(layout, random, modules=3)
    execution = through(world, world.functions[1], world.functions[0])
    address = world.kernel.modules[1].text.start + at
    world.kernel.memory.put_word(execution.slots[-2], address)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 77)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((found, _),) = Reader(loaded).counts()
    if 0 <= at < 4096:  # whatever its rule leads to
        assert found[2:3] in ((address,), ())
        assert found[1:3] in ((execution.callers[0], address), (77,))
    else:
        assert found == (world.func.start, execution.callers[0])
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
    execution = through(world, body)
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
        after = through(world, made)
        regs = after.regs(world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", regs)
    kernel.write_modules(6, loaded=[old])
    for at, data in before.items():
        kernel.memory.put(at, data)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    found = {(stack.addresses[1:], stack.codes[1]): n for stack, n in stacks(loaded).items()}
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
    execution = through(world, world.bpf[0])
    new = Placed("bpf_prog_another", old.text)
    loaded = Loaded(kernel, func=world.func.start)
    regs = execution.regs(world.func.start)
    for number, program in enumerate((old, old, new, old, new)):
        if number > 1:
            kernel.write_programs(2 * number, loaded=[program])
        loaded.run("kw_kprobe", regs)
    found = {(stack.addresses[1:], stack.codes[1]): n for stack, n in stacks(loaded).items()}
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
    execution = through(world, random.choice(bodies), random.choice(world.functions))
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
    # From now on it is no code.
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts()[whole[:2], "whole"] >= 1
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
    execution = through(world, body)
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


@by_layout
@given(random=RANDOMS)
def test_copies_of_ftrace_have_the_rules_of_what_they_are_copies_of(
    layout: Layout, random: Random
) -> None:
    world = World(layout, random)
    execution = through(world, random.choice(world.copies), random.choice(world.functions))
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(3):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, *execution.callers), "whole"): 3}
    assert not any(any(stack.codes) for stack in stacks(loaded))
    assert loaded.counters() == {}
    loaded.close()


@by_layout
@given(random=RANDOMS, slots=st.integers(0, 5), listed=st.booleans())
def test_slots_of_kprobes_are_left_to_the_kernel(
    layout: Layout, random: Random, slots: int, listed: bool
) -> None:
    """An address in no list is no code; one in a slot is, but nobody knows its rule."""
    world = World(layout, random, slots=slots)
    execution = through(world, world.functions[0], world.functions[1])
    page = SLOTS + 0x1000 * (random.randrange(slots) if listed and slots else 40)
    at = page + random.choice((0, 17, 4095))
    slot = execution.slots[-2]
    world.kernel.memory.put_word(slot, at)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 77)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    in_slot = listed and slots
    expected = ((world.func.start, 77), "fallback")
    if not in_slot:
        expected = ((world.func.start, execution.callers[0]), "whole")
    assert Reader(loaded).counts() == {expected: 1}
    loaded.close()


HIDDEN = ["mod_tree", "bpf_tree", "ftrace_ops_list", "insn_slots", "optinsn_slots"]


@by_layout
@pytest.mark.parametrize("hidden", HIDDEN)
def test_unlisted_code_is_unknown_where_kallsyms_hides_symbols(layout: Layout, hidden: str) -> None:
    world = World(layout, Random(4))
    execution = through(world, world.functions[0], world.functions[1])
    world.kernel.memory.put_word(execution.slots[-2], SLOTS + 5)
    loaded = Loaded(world.kernel, func=world.func.start, **{hidden: 0})
    loaded.cpus[0].unwinds(world.func.start, 77)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, 77), "fallback"): 1}
    loaded.close()


def test_kernel_without_kprobes_has_no_slots() -> None:
    world = World(V6_12, Random(4), without=frozenset({"struct kprobe_insn_page"}))
    execution = through(world, world.functions[0], world.functions[1])
    world.kernel.memory.put_word(execution.slots[-2], SLOTS + 5)
    loaded = Loaded(world.kernel, func=world.func.start, insn_slots=0, optinsn_slots=0)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    expected = (world.func.start, execution.callers[0])
    assert Reader(loaded).counts() == {(expected, "whole"): 1}
    loaded.close()


def test_module_without_sysfs_has_no_number() -> None:
    world = World(V6_12, Random(4), modules=1, without=frozenset({"struct kernfs_node, id"}))
    execution = through(world, world.modular[0])
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    ((stack, _),) = stacks(loaded).items()
    assert stack.addresses[1:] == tuple(execution.callers)
    assert not any(stack.codes)
    loaded.close()


@pytest.mark.parametrize("layout", ORC, ids=repr)
def test_module_without_rules_is_taken_to_have_a_frame_pointer(layout: Layout) -> None:
    world = World(layout, Random(4), modules=1, bare_module=True)
    execution = through(world, world.bare, world.functions[0])
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, *execution.callers), "whole"): 2}
    loaded.close()


@by_layout
@pytest.mark.parametrize("part", ["mem[1]", "mem[4]"])
def test_module_data_is_no_code_and_its_init_text_is(layout: Layout, part: str) -> None:
    if not layout.module_memory:
        world = World(layout, Random(4), modules=1)
        execution = through(world, world.functions[0], world.functions[1])
        module = world.kernel.modules[0]
        # Behind its text, and within its memory.
        world.kernel.memory.put_word(execution.slots[-2], module.text.end + 16)
        expected: tuple[int, ...] = (world.func.start, execution.callers[0])
    else:
        world = World(layout, Random(4), modules=1, part=part)
        execution = through(world, world.modular[0], world.functions[1])
        expected = (world.func.start, *execution.callers)
        if part == "mem[1]":
            expected = expected[:2]
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {(expected, "whole"): 2}
    loaded.close()


def test_rules_beyond_the_table_are_not_known() -> None:
    """Text behind the last block of orc_lookup; a table that ends too early."""
    for wrong in ({"orc_lookups": 3}, {"orc_entries": 2}):
        world = World(V6_1, Random(4))
        execution = through(world, world.functions[3], world.functions[1])
        loaded = Loaded(world.kernel, func=world.func.start, **wrong)
        loaded.cpus[0].unwinds(world.func.start, 77)
        loaded.run("kw_kprobe", execution.regs(world.func.start))
        assert Reader(loaded).counts() == {((world.func.start, 77), "fallback"): 1}
        loaded.close()
