# SPDX-License-Identifier: MIT
"""Start of the walk, for each way of attaching and each place in FUNC."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import ALL, FP, Layout
from loaded import Loaded
from machine import USER, Execution
from objects import BPF, TEXT
from worlds import RANDOMS, World, counted

from kwalk.abi import (
    BRIEF_BYTES,
    EVENT,
    NO_ADDRESS,
    STACKED,
    NodeKind,
    Output,
    Place,
    Source,
)
from kwalk.transport.context_tree import NODE_BYTES, reserved

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
CODE = BPF + 0x400000  # of a classic BPF filter: in no list of the kernel's


@by_layout
@given(random=RANDOMS, arguments=st.integers(0, 6), shift=st.integers(0, 1))
def test_fentry_starts_above_the_arguments(
    layout: Layout, random: Random, arguments: int, shift: int
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    expected = (world.func.start, *execution.callers)
    if shift and not layout.frame_pointers and world.bp_is_free(execution):
        execution.fp = world.func.start  # a saved BP that is FUNC's own address
    context = execution.trampoline(world.func.start, arguments, shift)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = arguments
    for _ in range(2):
        loaded.run("kw_fentry", context)
    assert counted(loaded) == {(expected, "whole"): 2}


@by_layout
@given(random=RANDOMS, arguments=st.integers(0, 6))
def test_fexit_starts_above_the_value(layout: Layout, random: Random, arguments: int) -> None:
    world = World(layout, random)
    execution = world.stacked()
    context = execution.trampoline(world.func.start, arguments, 1)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1, place=Place.RETURN)
    loaded.cpus[0].state.arguments = arguments
    for _ in range(2):
        loaded.run("kw_fexit", context)
    assert counted(loaded) == {((world.func.start, *execution.callers), "whole"): 2}


@pytest.mark.parametrize("layout", FP, ids=repr)
def test_kprobe_inside_falls_back_where_the_prologue_is_not_known(layout: Layout) -> None:
    world = World(layout, Random(1))
    execution = world.stacked()
    traced = world.func.start + 4
    loaded = Loaded(world.kernel, func=traced, place=Place.INSIDE)
    loaded.cpus[0].unwinds(traced, 77)
    loaded.run("kw_kprobe", execution.regs(traced))
    assert counted(loaded) == {((traced, 77), "fallback"): 1}


@by_layout
@given(random=RANDOMS)
def test_kretprobe_starts_with_its_caller(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    execution = world.stacked()
    # After the call the caller's frame is complete, as if it had been interrupted there.
    assume(world.is_complete(execution.callers[0]))
    loaded = Loaded(world.kernel, func=world.func.start, place=Place.RETURN)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.returned())
    expected = ((world.func.start, *execution.callers), "whole")
    assert counted(loaded, returned=True) == {expected: 2}


@by_layout
@given(random=RANDOMS, known=st.booleans())
def test_kretprobe_knows_an_address_that_the_graph_tracer_had_replaced(
    layout: Layout, random: Random, known: bool
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    assume(world.is_complete(execution.callers[0]))
    if known:
        execution.graph(execution.slots[-1])
    regs = execution.returned(world.kernel.symbols["graph_return"])
    loaded = Loaded(world.kernel, func=world.func.start, place=Place.RETURN)
    loaded.cpus[0].unwinds(5, 6)
    for _ in range(2):
        loaded.run("kw_kprobe", regs)
    expected = ((world.func.start, *execution.callers), "whole")
    if not known:
        expected = ((world.func.start, 5, 6), "fallback")
    assert counted(loaded, returned=True) == {expected: 2}


@by_layout
@pytest.mark.parametrize("replaced", [False, True])
def test_kretprobe_on_top_of_the_graph_tracer_says_so(layout: Layout, replaced: bool) -> None:
    """The kernel undoes one of the two: that is known of the event, and excused."""
    world = World(layout, Random(4), plain=True)
    execution = world.begin()
    execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    regs = execution.returned()
    shown = list(execution.callers)
    if replaced:
        execution.graph(execution.slots[-1])
        regs = execution.returned(world.kernel.symbols["graph_return"])
        shown[0] = world.kernel.symbols["graph_return"]
    loaded = Loaded(
        world.kernel, func=world.func.start, place=Place.RETURN, slow=1, verify=1,
        output=Output.BRIEF,
    )  # fmt: skip
    loaded.cpus[0].unwinds(*shown)
    loaded.run("kw_kprobe", regs)
    (record,) = loaded.records(BRIEF_BYTES)
    assert EVENT.unpack(record[8:].ljust(EVENT.size, b"\0"))["flags"] == (
        STACKED if replaced else 0
    )
    assert loaded.counters() == {"checked": 1} | ({"stacked_hooks": 1} if replaced else {})
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_kprobe_shows_a_caller_that_no_list_of_the_kernel_has(
    layout: Layout, random: Random
) -> None:
    """By frame pointers the kernel does not see FUNC's caller, hence does not end there."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 3))
    execution.call(world.functions[0] if layout.frame_pointers else world.bpf[0])
    execution.call(world.func, prologue=False)
    execution.replace(execution.slots[-1], CODE + 4)
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    first = reserved(len(loaded.cpus))
    nodes = [loaded.tree.node(at * NODE_BYTES) for at in range(first, first + loaded.tree.used)]
    # Other code may be at the address when the next hit comes.
    sources = {node.source for node in nodes if node.ip == CODE + 4}
    assert sources == ({Source.ONCE} if layout.frame_pointers else set())
    callers = [CODE + 4, *execution.callers[1:]] if layout.frame_pointers else []
    assert counted(loaded) == {((world.func.start, *callers), "whole"): 2}


@by_layout
@pytest.mark.parametrize("program", ["kw_tp", "kw_raw_tp"])
@given(random=RANDOMS)
def test_tracepoint_starts_with_the_frame_of_its_program(
    layout: Layout, program: str, random: Random
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    # The program's own frame: its return address tells its caller.
    frame, saved = execution.program()
    loaded = Loaded(world.kernel, func=0, place=Place.TRACEPOINT)
    loaded.change(saved=saved)
    loaded.cpus[0].state.own_frame = frame
    for _ in range(2):
        loaded.run(program)
    assert counted(loaded) == {((0, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS, partial=st.booleans())
def test_sample_starts_at_what_it_interrupted(
    layout: Layout, random: Random, partial: bool
) -> None:
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 5))
    body = random.choice(world.functions)
    execution.call(body, prologue=not partial or layout.frame_pointers)
    at = body.start if partial and not layout.frame_pointers else 0
    place = execution.interrupt(world.interrupt, at)
    data = world.kernel.object("struct bpf_perf_event_data_kern", regs=place)
    loaded = Loaded(world.kernel, func=NO_ADDRESS, place=Place.SAMPLE)
    for _ in range(2):
        loaded.run("kw_sample", data)
    assert counted(loaded) == {((NO_ADDRESS, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS)
def test_sample_of_user_space_is_counted_and_not_walked(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    regs = world.kernel.object("struct pt_regs", **USER)
    data = world.kernel.object("struct bpf_perf_event_data_kern", regs=regs)
    loaded = Loaded(world.kernel, func=NO_ADDRESS, place=Place.SAMPLE)
    loaded.run("kw_sample", data)
    assert loaded.counters() == {"lost_user_mode": 1}
    assert loaded.tree.hits() == 1
    assert counted(loaded) == {}


@by_layout
@given(random=RANDOMS, way=st.sampled_from(["kw_kprobe", "kw_multi"]))
def test_many_functions_have_a_node_each(layout: Layout, random: Random, way: str) -> None:
    """More than a root's two hints know; a call of each on each CPU."""
    world = World(layout, random)
    execution = world.stacked()
    functions = [TEXT + 0x3000 + 64 * n for n in range(4)]
    loaded = Loaded(world.kernel, many=1, special=1)
    expected: dict[tuple[tuple[int, ...], str], int] = {}
    for _ in range(12):
        function, cpu = random.choice(functions), random.randint(0, 1)
        state = loaded.cpus[cpu].state
        state.func_ip, state.cookie = (function, 1) if way == "kw_multi" else (2, function)
        loaded.run(way, execution.regs(function), cpu)
        key = (function, *execution.callers), "whole"
        expected[key] = expected.get(key, 0) + 1
    kinds = {loaded.tree.node(root).kind for root in (512, 1024)}
    assert kinds == {NodeKind.ROOT}
    assert counted(loaded) == expected


@by_layout
@given(random=RANDOMS, place=st.sampled_from([Place.ENTRY, Place.RETURN]))
def test_many_trampolines_have_a_node_each(layout: Layout, random: Random, place: Place) -> None:
    """Their cookie tells which FUNC it is; a fexit program elsewhere can share one of them."""
    world = World(layout, random)
    hits: dict[int, tuple[Execution, int, int]] = {}
    expected: dict[tuple[tuple[int, ...], str], int] = {}
    for function in (TEXT + 0x3000 + 64 * n for n in range(4)):
        execution = world.begin(world.kernel.new_task())
        world.go(execution, random.randint(0, 4))
        execution.call(world.func, prologue=False)
        expected[(function, *execution.callers), "whole"] = 1
        arguments = random.randint(0, 6)
        kept = place == Place.RETURN or random.random() < 0.5
        if kept and execution.jumps and random.random() < 0.5:
            context = execution.jumped(arguments)
        else:
            context = execution.trampoline(function, arguments, int(kept))
        hits[function] = execution, arguments, context
    loaded = Loaded(world.kernel, many=1, fentry=1, place=place)
    program = "kw_fentry_multi" if place == Place.ENTRY else "kw_fexit_multi"
    for function, (execution, arguments, context) in hits.items():
        cpu = random.randint(0, 1)
        state = loaded.cpus[cpu].state
        state.task, state.func_ip = execution.task, 1
        state.cookie, state.arguments = function, arguments
        loaded.run(program, context, cpu)
    assert counted(loaded) == expected


@by_layout
@given(random=RANDOMS)
def test_kprobes_beside_trampolines_have_a_part_of_their_own(
    layout: Layout, random: Random
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    functions = [TEXT + 0x3000 + 64 * n for n in range(3)]
    loaded = Loaded(world.kernel, levels=2, many=1, special=1, first_part=2)
    for function in functions:
        loaded.cpus[1].state.func_ip = function
        loaded.run("kw_multi_beside", execution.regs(function), 1)
    assert (loaded.tree.hits_of(0), loaded.tree.hits_of(1)) == (0, 3)
    assert counted(loaded) == {((f, *execution.callers), "whole"): 1 for f in functions}


@by_layout
@given(random=RANDOMS)
def test_many_functions_share_the_kernels_root_as_well(layout: Layout, random: Random) -> None:
    world = World(layout, random)
    execution = world.begin()
    slot = execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    world.kernel.memory.put_word(slot, world.kernel.symbols["rethook"])
    loaded = Loaded(world.kernel, many=1, special=1)
    for function in (world.func.start, world.functions[0].start, world.func.start):
        loaded.cpus[0].state.cookie = function
        loaded.cpus[0].unwinds(function + 4, 77)
        loaded.run("kw_kprobe", execution.regs(function))
    assert counted(loaded) == {
        ((world.func.start, 77), "fallback"): 2,
        ((world.functions[0].start, 77), "fallback"): 1,
    }
