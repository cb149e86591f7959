# SPDX-License-Identifier: MIT
"""Addresses that x86-64's unwinders take for code: __kernel_text_address()."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, ORC, V6_1, V6_12, Layout
from loaded import Loaded
from objects import SLOTS
from worlds import RANDOMS, Reader, World

HIDDEN = ["mod_tree", "bpf_tree", "ftrace_ops_list", "insn_slots", "optinsn_slots"]
by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS, at=st.sampled_from([0, 1, 40, 95, 96, 97]))
def test_bpf_code_reaches_to_behind_its_last_call(layout: Layout, random: Random, at: int) -> None:
    """The kernel takes the byte behind a program for its own; the next one is no code."""
    world = World(layout, random, programs=3)
    execution = world.through(world.bpf[1], world.functions[0])
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
    execution = world.through(world.functions[1], world.functions[0])
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
@given(random=RANDOMS)
def test_copies_of_ftrace_have_the_rules_of_what_they_are_copies_of(
    layout: Layout, random: Random
) -> None:
    world = World(layout, random)
    execution = world.through(random.choice(world.copies), random.choice(world.functions))
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(3):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, *execution.callers), "whole"): 3}
    assert not any(any(stack.codes) for stack in Reader(loaded).stacks())
    assert loaded.counters() == {}
    loaded.close()


@by_layout
@given(random=RANDOMS, slots=st.integers(0, 5), listed=st.booleans())
def test_slots_of_kprobes_are_left_to_the_kernel(
    layout: Layout, random: Random, slots: int, listed: bool
) -> None:
    """An address in no list is no code; one in a slot is, but nobody knows its rule."""
    world = World(layout, random, slots=slots)
    execution = world.through(world.functions[0], world.functions[1])
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


@by_layout
@pytest.mark.parametrize("hidden", HIDDEN)
def test_unlisted_code_is_unknown_where_kallsyms_hides_symbols(layout: Layout, hidden: str) -> None:
    world = World(layout, Random(4))
    execution = world.through(world.functions[0], world.functions[1])
    world.kernel.memory.put_word(execution.slots[-2], SLOTS + 5)
    loaded = Loaded(world.kernel, func=world.func.start, **{hidden: 0})
    loaded.cpus[0].unwinds(world.func.start, 77)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert Reader(loaded).counts() == {((world.func.start, 77), "fallback"): 1}
    loaded.close()


def test_kernel_without_kprobes_has_no_slots() -> None:
    world = World(V6_12, Random(4), without=frozenset({"struct kprobe_insn_page"}))
    execution = world.through(world.functions[0], world.functions[1])
    world.kernel.memory.put_word(execution.slots[-2], SLOTS + 5)
    loaded = Loaded(world.kernel, func=world.func.start, insn_slots=0, optinsn_slots=0)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    expected = (world.func.start, execution.callers[0])
    assert Reader(loaded).counts() == {(expected, "whole"): 1}
    loaded.close()


@pytest.mark.parametrize("layout", ORC, ids=repr)
def test_module_without_rules_is_taken_to_have_a_frame_pointer(layout: Layout) -> None:
    world = World(layout, Random(4), modules=1, bare_module=True)
    execution = world.through(world.bare, world.functions[0])
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
        execution = world.through(world.functions[0], world.functions[1])
        module = world.kernel.modules[0]
        # Behind its text, and within its memory.
        world.kernel.memory.put_word(execution.slots[-2], module.text.end + 16)
        expected: tuple[int, ...] = (world.func.start, execution.callers[0])
    else:
        world = World(layout, Random(4), modules=1, part=part)
        execution = world.through(world.modular[0], world.functions[1])
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
        execution = world.through(world.functions[3], world.functions[1])
        loaded = Loaded(world.kernel, func=world.func.start, **wrong)
        loaded.cpus[0].unwinds(world.func.start, 77)
        loaded.run("kw_kprobe", execution.regs(world.func.start))
        assert Reader(loaded).counts() == {((world.func.start, 77), "fallback"): 1}
        loaded.close()
