# SPDX-License-Identifier: MIT
"""Start of the walk on arm64: LR and frame records, trampolines, programs of tracepoints."""

from __future__ import annotations

from random import Random

import pytest
from comparing import NEW
from hypothesis import assume, given
from hypothesis import strategies as st
from layouts import ALL, Layout
from loaded import Loaded
from objects import HEAP
from worlds import RANDOMS, World, counted

from arm64 import reference
from arm64.execution import EL1, Execution
from kwalk.abi import EVENT, NO_ADDRESS, Method, Output, Place, Start

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


def traced(
    world: World, execution: Execution, start: Start, at: int
) -> dict[tuple[tuple[int, ...], str], int]:
    """Return the counts after two hits of a kprobe inside FUNC."""
    loaded = Loaded(world.kernel, func=at, place=Place.INSIDE)
    loaded.change(start=start)
    loaded.cpus[0].unwinds(at, 77)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(at))
    return counted(loaded)


@by_layout
@given(random=RANDOMS, start=st.sampled_from([Start.BARE, Start.FRAME]), hooked=st.booleans())
def test_kprobe_inside_starts_where_the_return_address_is(
    layout: Layout, random: Random, start: Start, hooked: bool
) -> None:
    """LR is signed once the prologue has begun; FP is the caller's until it is complete."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 5))
    slot = execution.call(world.func, prologue=False)
    if hooked:
        execution.graph(slot)
    lr = execution.lr
    execution.lr = execution.signed(lr)
    if random.random() < 0.5:
        execution.push(execution.word(), execution.word())
    if start == Start.FRAME:
        execution.lr = lr
        execution.enter(world.func)
        execution.lr = execution.word()
    at = world.func.start + 12
    assert traced(world, execution, start, at) == {((at, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS, fp=st.sampled_from([0, 8, HEAP, "below", "far"]))
def test_kprobe_inside_does_not_trust_any_fp(layout: Layout, random: Random, fp: int | str) -> None:
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 2)
    execution.call(world.func)
    places = {"below": execution.sp - 32, "far": execution.sp + world.kernel.stack_size}
    memory = world.kernel.memory
    memory.put(places["below"], memory.read(execution.fp, 16) or b"")  # a record, but a stale one
    execution.fp = fp if isinstance(fp, int) else places[fp]
    at = world.func.start + 40
    assert traced(world, execution, Start.FRAME, at) == {((at, 77), "fallback"): 2}


@by_layout
@pytest.mark.parametrize("start", [Start.UNKNOWN, Start.PUSHED])
def test_kprobe_inside_falls_back_without_a_place(layout: Layout, start: Start) -> None:
    world = World(layout, Random(1))
    execution = world.stacked()
    at = world.func.start + 4
    assert traced(world, execution, start, at) == {((at, 77), "fallback"): 2}


@by_layout
@given(
    random=RANDOMS,
    arguments=st.integers(0, 12),
    shift=st.integers(0, 1),
    place=st.sampled_from([Place.ENTRY, Place.RETURN]),
    hooked=st.booleans(),
)
def test_trampoline_has_two_records_above_the_arguments(
    layout: Layout, random: Random, arguments: int, shift: int, place: Place, hooked: bool
) -> None:
    """Whether a return value and padding are between them, the records themselves tell."""
    world = World(layout, random)
    execution = world.stacked()
    if hooked:
        execution.rethook(execution.slots[-1])
    context = execution.trampoline(world.func.start, arguments, shift)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1, place=place)
    loaded.cpus[0].state.arguments = arguments
    for _ in range(2):
        loaded.run("kw_fentry" if place == Place.ENTRY else "kw_fexit", context)
    assert counted(loaded) == {((world.func.start, *execution.callers), "whole"): 2}


@by_layout
@given(random=RANDOMS, at=st.sampled_from([-8, 0, 4, 16, 17, 18, 100]))
def test_trampoline_returns_to_the_entry_of_func(layout: Layout, random: Random, at: int) -> None:
    """The return address in its record tells that it is one of FUNC's."""
    world = World(layout, random)
    execution = world.stacked()
    own = execution.sp - 32
    context = execution.trampoline(world.func.start, 2)
    world.kernel.memory.put_word(own + 8, world.func.start + at)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = 2
    loaded.cpus[0].unwinds(world.func.start + 8, 77)
    loaded.run("kw_fentry", context)
    ((_, how),) = counted(loaded)
    assert how == ("whole" if 0 < at <= 17 else "fallback")


@by_layout
@given(random=RANDOMS, word=st.sampled_from(["fp", "ip"]))
def test_trampoline_that_is_not_known_is_left_to_the_kernel(
    layout: Layout, random: Random, word: str
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    top = execution.sp
    context = execution.trampoline(world.func.start, 2)
    own = top - 32
    world.kernel.memory.put_word(own if word == "fp" else own + 8, own)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = 2
    loaded.cpus[0].unwinds(world.func.start + 8, 77)
    loaded.run("kw_fentry", context)
    assert counted(loaded) == {((world.func.start, 77), "fallback"): 1}


@by_layout
@pytest.mark.parametrize("program", ["kw_tp", "kw_raw_tp"])
def test_tracepoint_needs_the_place_of_its_programs_record(layout: Layout, program: str) -> None:
    world = World(layout, Random(2))
    execution = world.stacked()
    loaded = Loaded(world.kernel, func=NO_ADDRESS, place=Place.TRACEPOINT)
    frame, _ = execution.program()
    memory = world.kernel.memory
    memory.put(frame, memory.read(execution.fp, 16) or b"")  # it looks like one
    loaded.cpus[0].state.own_frame = frame
    loaded.cpus[0].unwinds(77, 78)
    loaded.run(program)
    assert counted(loaded, returned=True) == {((NO_ADDRESS, 77, 78), "fallback"): 1}


@by_layout
@given(random=RANDOMS)
def test_sample_begins_at_the_interrupted_instruction(layout: Layout, random: Random) -> None:
    """In a prologue the direct caller is missing, as in the kernel's own stack."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, random.randint(0, 4))
    body = random.choice(world.functions)
    execution.call(body, prologue=random.random() < 0.5)
    regs = execution.interrupt(world.interrupt)
    word = world.kernel.memory.word
    pc = word(world.kernel.at(regs, "struct pt_regs", "pc"))
    fp = word(world.kernel.at(regs, "struct pt_regs", "regs[29]"))
    expected = reference.stack(reference.Unwinder(world.kernel, pc, fp))
    data = world.kernel.object("struct bpf_perf_event_data_kern", regs=regs)
    loaded = Loaded(world.kernel, place=Place.SAMPLE)
    for _ in range(2):
        loaded.run("kw_sample", data)
    assert counted(loaded) == {((0, *expected), "whole"): 2}


@by_layout
@pytest.mark.parametrize("mode", [*range(16), 0x60000000, 0x60000010, EL1 | 0x80000000])
def test_mode_of_a_sample_is_in_the_low_bits(layout: Layout, mode: int) -> None:
    """EL0t, and the same of 32-bit programs, which have bit 4 set."""
    world = World(layout, Random(3))
    execution = world.begin()
    execution.call(world.functions[0])
    regs = execution.interrupt(world.interrupt, pstate=mode)
    data = world.kernel.object("struct bpf_perf_event_data_kern", regs=regs)
    loaded = Loaded(world.kernel, place=Place.SAMPLE)
    loaded.run("kw_sample", data)
    assert loaded.counters() == ({} if mode & 15 else {"lost_user_mode": 1})
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_kprobe_in_the_outermost_frame_has_no_callers(layout: Layout, random: Random) -> None:
    """Entry code whose FP is the record that ends the stack."""
    world = World(layout, random)
    execution = Execution(world.kernel, random, world.kernel.task)
    execution.from_user(world.syscall)
    at = world.syscall.start + 40
    assert traced(world, execution, Start.FRAME, at) == {((at,), "whole"): 2}


@by_layout
@given(random=RANDOMS, arguments=st.integers(0, 3))
def test_trampoline_of_a_program_that_could_be_generated_is_the_same(
    layout: Layout, random: Random, arguments: int
) -> None:
    world = World(layout, random)
    execution = world.stacked()
    context = execution.trampoline(world.func.start, arguments)
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = arguments
    for _ in range(2):
        loaded.run("kw_fentry_hot", context)
    assert counted(loaded) == {((world.func.start, *execution.callers), "whole"): 2}


@by_layout
def test_helper_finds_func_without_a_caller_of_its_own(layout: Layout) -> None:
    """FUNC always calls its trampoline, so the kernel's stack has it."""
    world = World(layout, Random(1))
    execution = world.stacked()
    context = execution.trampoline(world.func.start, 1)
    settings = {"func": world.func.start, "fentry": 1, "slow": 1, "method": Method.HELPER}
    loaded = Loaded(world.kernel, output=Output.EVENT, **settings)
    loaded.cpus[0].state.arguments = 1
    loaded.cpus[0].unwinds(77, *execution.callers)
    loaded.run("kw_fentry", context)
    (record,) = loaded.records()
    event = EVENT.unpack(record[8:])
    assert (event["node"], event["flags"]) == (0, 0)
    loaded.close()


@by_layout
@given(random=RANDOMS, skip=st.integers(0, 3), right=st.booleans())
def test_verdict_on_tracepoints_whose_first_frame_the_kernel_has_twice(
    layout: Layout, random: Random, skip: int, right: bool
) -> None:
    """perf_arch_fetch_caller_regs() gives an address, and the frame whose record has it again."""
    world = World(layout, random, modules=0, programs=0, plain=True)
    execution = world.begin()
    for body in world.functions[:4]:
        execution.call(body)
    execution.call(world.func, prologue=False)
    callers = execution.callers
    frame, saved = execution.program()
    shown = [callers[skip], *callers[skip:]]
    if not right:
        shown = [*shown[:-1], NEW]
    loaded = Loaded(world.kernel, place=Place.TRACEPOINT, verify=1, slow=1)
    loaded.change(saved=saved)
    loaded.cpus[0].state.own_frame = frame
    loaded.cpus[0].unwinds(*shown)
    loaded.run("kw_tp")
    assert loaded.counters() == {"checked": 1} | ({} if right else {"mismatches": 1})
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_return_starts_whatever_its_stack_pointer_is(layout: Layout, random: Random) -> None:
    """return_to_handler() saves FP, and leaves SP out (arch/arm64/kernel/entry-ftrace.S)."""
    world = World(layout, random)
    execution = world.stacked()
    assume(world.is_complete(execution.callers[0]))
    execution.sp, sp = execution.word(), execution.sp
    regs = execution.returned()
    execution.sp = sp
    loaded = Loaded(world.kernel, func=world.func.start, place=Place.RETURN)
    for _ in range(2):
        loaded.run("kw_kprobe", regs)
    expected = ((world.func.start, *execution.callers), "whole")
    assert counted(loaded, returned=True) == {expected: 2}


@by_layout
@given(random=RANDOMS, by=st.sampled_from([0, 8]))
def test_record_of_func_does_not_lead_into_itself(layout: Layout, random: Random, by: int) -> None:
    world = World(layout, random)
    execution = world.stacked()
    record = execution.sp - 16
    context = execution.trampoline(world.func.start, 1)
    memory = world.kernel.memory
    memory.put_word(record, record + by)
    memory.put_word(record + 8, execution.fp)  # where the record at by leads, or a return address
    loaded = Loaded(world.kernel, func=world.func.start, fentry=1)
    loaded.cpus[0].state.arguments = 1
    loaded.cpus[0].unwinds(world.func.start + 8, 77)
    for _ in range(2):
        loaded.run("kw_fentry", context)
    assert counted(loaded) == {((world.func.start, 77), "fallback"): 2}
