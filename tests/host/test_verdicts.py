# SPDX-License-Identifier: MIT
"""Verdicts of --verify, the walk against the kernel's unwinder; hits that fall back to it."""

from __future__ import annotations

from random import Random

import pytest
from comparing import NEW, TRACER, brief, compared, flags
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, FP, ORC, V6_12, Layout
from library import Cpu
from loaded import Loaded
from objects import TEXT
from worlds import RANDOMS, Reader, World, lost_hit, tasks

from kwalk.abi import (
    DIFFERS,
    FALLBACK,
    STACKED,
    Method,
    Output,
    Place,
)

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS, before=st.integers(0, 7), entry=st.integers(0, 16))
def test_verdict_on_equal_stacks_is_that_they_are(
    layout: Layout, random: Random, before: int, entry: int
) -> None:
    """The tracer's own frames come first, then FUNC, whose first bytes call the tracer."""
    world = World(layout, random)
    hits = tasks(world, 2)
    loaded = compared(world)
    for hit in (*hits, *hits):
        loaded.cpus[0].unwinds(*TRACER[:before], world.func.start + entry, *hit.callers)
        hit.run(loaded)
    assert loaded.counters() == {"checked": 4}
    assert sum(Reader(loaded).counts().values()) == 4
    assert {how for _, how in Reader(loaded).counts()} == {"whole"}
    loaded.close()


@by_layout
@given(random=RANDOMS, change=st.sampled_from(["other", "short", "long", "no FUNC", "late FUNC"]))
def test_verdict_on_stacks_that_differ_is_a_mismatch(
    layout: Layout, random: Random, change: str
) -> None:
    """The event stays where the walk led; the kernel's stack is kept beside it."""
    world = World(layout, random)
    (hit,) = tasks(world, 1)
    callers = list(hit.callers)
    kernels = [world.func.start + 4, *callers]
    if change == "other":
        # By frame pointers FUNC's caller is compared with nothing.
        kernels[random.randint(2, len(kernels) - 1)] ^= 4
    elif change == "short":
        kernels.pop()
    elif change == "long":
        kernels.append(NEW)
    elif change == "no FUNC":
        kernels[0] = world.func.start + 17
    else:
        kernels = [*TRACER, TRACER[0], *kernels]
    loaded = compared(world, output=Output.BRIEF)
    loaded.cpus[0].unwinds(*kernels)
    for _ in range(2):
        hit.run(loaded)
    assert loaded.counters() == {"checked": 2, "mismatches": 2}
    reader = Reader(loaded)
    for event in brief(loaded):
        assert event["flags"] == DIFFERS
        assert reader.shown(reader.contexts.stack(event["node"]))[0] == (
            world.func.start,
            *hit.callers,
        )
        assert list(reader.contexts.whole(event["other"]).addresses) == kernels
    loaded.close()


@by_layout
@given(random=RANDOMS)
def test_verdict_where_the_kernel_lacks_the_direct_caller(layout: Layout, random: Random) -> None:
    """By frame pointers that is the kernel's way; with ORC it is a mismatch."""
    world = World(layout, random)
    (hit,) = tasks(world, 1)
    loaded = compared(world)
    loaded.cpus[0].unwinds(world.func.start, *hit.callers[1:])
    hit.run(loaded)
    cause = "missing_caller" if layout.frame_pointers else "mismatches"
    assert loaded.counters() == {"checked": 1, cause: 1}
    loaded.close()


@by_layout
@given(random=RANDOMS, most=st.integers(2, 6), depth=st.integers(2, 127))
def test_verdict_on_stacks_that_were_cut_off(
    layout: Layout, random: Random, most: int, depth: int
) -> None:
    """They agree as far as both go; of a kernel's that ends before FUNC's caller nobody knows."""
    world = World(layout, random)
    (hit,) = tasks(world, 1, 5)
    before = random.randint(0, 4)
    kernels = [*TRACER[:before], world.func.start, *hit.callers][:most]
    loaded = compared(world, kernel_frames=most, max_frames=depth)
    loaded.cpus[0].unwinds(*kernels)
    hit.run(loaded)
    seen = before + 1 < most  # as much as one caller
    assert loaded.counters() == ({"checked": 1} if seen else {})
    loaded.close()


@by_layout
@given(random=RANDOMS, depth=st.integers(2, 6))
def test_verdict_on_a_walk_that_was_cut_at_the_depth(
    layout: Layout, random: Random, depth: int
) -> None:
    world = World(layout, random)
    (hit,) = tasks(world, 1, 8)
    loaded = compared(world, max_frames=depth)
    loaded.cpus[0].unwinds(world.func.start, *hit.callers)
    hit.run(loaded)
    loaded.cpus[0].unwinds(world.func.start, hit.callers[0] ^ 4, *hit.callers[1:])
    hit.run(loaded)
    wrong = "missing_caller" if layout.frame_pointers and depth < 3 else "mismatches"
    assert loaded.counters() == {"checked": 2, wrong: 1}
    loaded.close()


@by_layout
@given(random=RANDOMS, right=st.booleans())
def test_verdict_behind_a_return(layout: Layout, random: Random, right: bool) -> None:
    """There the kernel begins with FUNC's caller."""
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.functions[0])
    at = execution.interrupt(world.interrupt)
    regs = world.kernel.memory.read(at, world.kernel.types.size("struct pt_regs")) or b""
    callers = execution.callers
    loaded = compared(world, place=Place.RETURN)
    loaded.cpus[0].unwinds(*callers[:-1], callers[-1] if right else NEW)
    loaded.run("kw_kprobe", regs)
    assert loaded.counters() == {"checked": 1} | ({} if right else {"mismatches": 1})
    loaded.close()


@by_layout
@given(random=RANDOMS, wrong=st.booleans())
def test_verdict_on_a_kernel_that_undoes_one_of_two_replacements(
    layout: Layout, random: Random, wrong: bool
) -> None:
    world = World(layout, random)
    execution = world.begin()
    slot = execution.call(world.functions[0])
    execution.call(world.functions[1])
    execution.call(world.func, prologue=False)
    execution.graph(slot)
    execution.rethook(slot)
    callers = execution.callers
    hook = callers.index(execution.addresses[1])
    shown = [*callers[:hook], world.kernel.symbols["graph_return"]]
    if layout.frame_pointers:
        shown = [*shown[1:], *callers[hook + 1 :]]
    if wrong:
        shown[0 if not layout.frame_pointers else -1] ^= 4
    loaded = compared(world, output=Output.BRIEF)
    loaded.cpus[0].unwinds(world.func.start, *shown)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    cause = "mismatches" if wrong else "stacked_hooks"
    assert loaded.counters() == {"checked": 2, cause: 2}
    assert flags(loaded) == [STACKED | (DIFFERS if wrong else 0)] * 2
    loaded.close()


@by_layout
@given(random=RANDOMS, bad=st.integers(0, 5))
def test_self_check_trusts_the_walk_until_it_differs(
    layout: Layout, random: Random, bad: int
) -> None:
    """The first events of each CPU are compared; after a difference the kernel unwinds."""
    world = World(layout, random)
    (hit,) = tasks(world, 1)
    first = 3
    loaded = compared(world, verify=0, self_check=first, output=Output.BRIEF)
    right = [world.func.start, *hit.callers]
    for number in range(6):
        loaded.cpus[0].unwinds(*(right if number != bad else [*right[:-1], NEW]))
        hit.run(loaded)
    seen = flags(loaded)
    if bad >= first:  # nobody looked
        assert loaded.counters() == {"checked": first}
        assert seen == [0] * 6
    else:
        assert loaded.counters() == {"checked": bad + 1, "mismatches": 1}
        assert seen == [0] * bad + [DIFFERS | FALLBACK] + [FALLBACK] * (5 - bad)
    # Another CPU has first events of its own.
    checked = loaded.counters()["checked"]
    loaded.cpus[1].unwinds(*right)
    hit.run(loaded, 1)
    assert loaded.counters()["checked"] == checked + (bad >= first)
    loaded.close()


def test_verify_compares_one_in_so_many() -> None:
    world = World(V6_12, Random(4))
    (hit,) = tasks(world, 1)
    loaded = compared(world, verify=4)
    loaded.cpus[0].unwinds(world.func.start, *hit.callers)
    random = Random(1)
    for _ in range(400):
        loaded.cpus[0].state.random = random.getrandbits(64)
        hit.run(loaded)
    assert 60 < loaded.counters()["checked"] < 140
    assert Reader(loaded).counts() == {((world.func.start, *hit.callers), "whole"): 400}
    loaded.close()


@by_layout
@pytest.mark.parametrize("verify", [0, 1])
@given(random=RANDOMS)
def test_fallback_is_never_compared_with_itself(
    layout: Layout, verify: int, random: Random
) -> None:
    world = World(layout, random)
    hit = lost_hit(world)
    loaded = compared(world, verify=verify, output=Output.BRIEF)
    loaded.cpus[0].unwinds(*TRACER[:2], world.func.start, 77, 78)
    hit.run(loaded)
    assert loaded.counters() == {}
    (event,) = brief(loaded)
    assert event["flags"] == FALLBACK
    reader = Reader(loaded)
    assert reader.shown(reader.contexts.stack(event["node"])) == (
        (world.func.start, 77, 78),
        "fallback",
    )
    loaded.close()


@by_layout
def test_fallback_by_frame_pointers_gets_its_caller_back(layout: Layout) -> None:
    world = World(layout, Random(2))
    hit = lost_hit(world)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(world.func.start, 77)
    hit.run(loaded)
    found = Reader(loaded, insert_caller=layout.frame_pointers).counts()
    inserted = hit.callers[:1] if layout.frame_pointers else ()
    assert found == {((world.func.start, *inserted, 77), "fallback"): 1}
    loaded.close()


@pytest.mark.parametrize("error", [-14, -22, 0])
def test_fallback_without_a_stack_is_lost(error: int) -> None:
    world = World(V6_12, Random(2))
    hit = lost_hit(world)
    loaded = Loaded(world.kernel, func=world.func.start)
    loaded.cpus[0].unwinds(error=error)
    hit.run(loaded)
    assert loaded.counters() == {"lost_efault": 1}
    assert loaded.tree.hits() == 1
    assert Reader(loaded).counts() == {}
    loaded.close()


def test_verify_without_a_stack_compares_nothing() -> None:
    world = World(V6_12, Random(2))
    (hit,) = tasks(world, 1)
    loaded = compared(world)
    loaded.cpus[0].unwinds(error=-14)
    hit.run(loaded)
    assert loaded.counters() == {}
    assert Reader(loaded).counts() == {((world.func.start, *hit.callers), "whole"): 1}
    loaded.close()


@pytest.mark.parametrize("room", [1, 2, 3, 4, 5, 6])
def test_fallback_without_room_is_cut(room: int) -> None:
    """Of one caller that was walked, a mark, and three frames."""
    world = World(V6_12, Random(2))
    hit = lost_hit(world)
    loaded = Loaded(world.kernel, func=world.func.start, nodes=8)
    loaded.set_config(nodes=24 + room)
    loaded.cpus[0].unwinds(world.func.start, 77, 78)
    hit.run(loaded)
    ((stack, how),) = Reader(loaded).counts()
    frames = max(room - 2, 0)  # behind FUNC's caller and the mark
    if frames >= 3:
        assert (stack, how) == ((world.func.start, 77, 78), "fallback")
        assert loaded.counters() == {}
    else:
        assert how == "truncated fallback"
        assert stack == (world.func.start, 77, 78)[: max(frames, 1)]
        assert loaded.counters() == {"pool_full": 1}
    loaded.close()


@pytest.mark.parametrize("layout", [*ORC[:1], *FP[:1]], ids=repr)
@given(random=RANDOMS, skip=st.integers(0, 3), right=st.booleans())
def test_verdict_on_tracepoints_begins_where_both_have_a_frame(
    layout: Layout, random: Random, skip: int, right: bool
) -> None:
    """The kernel begins in the program, before its caller, or in one of those that called it."""
    world = World(layout, random, modules=0, programs=0, plain=True)
    execution = world.begin()
    for body in world.functions[:4]:
        execution.call(body)
    execution.call(world.func, prologue=False)
    callers = execution.callers
    frame, saved = execution.program()
    shown = callers[skip:] if skip else [*TRACER[:3], *callers]
    if not right:
        shown = [*shown[:-1], NEW]
    loaded = Loaded(world.kernel, place=Place.TRACEPOINT, verify=1, slow=1)
    loaded.change(saved=saved)
    loaded.cpus[0].state.own_frame = frame
    loaded.cpus[0].unwinds(*shown)
    loaded.run("kw_tp")
    assert loaded.counters() == {"checked": 1} | ({} if right else {"mismatches": 1})
    loaded.close()


@pytest.mark.parametrize("frames", [[], [NEW, NEW + 4]])
def test_verdict_on_tracepoints_that_have_no_frame_in_common(frames: list[int]) -> None:
    world = World(V6_12, Random(3), modules=0, programs=0, plain=True)
    execution = world.begin()
    execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    if not frames:  # nothing is walked
        execution.replace(execution.slots[-1], 8)
    frame, saved = execution.program()
    loaded = Loaded(world.kernel, place=Place.TRACEPOINT, verify=1, slow=1)
    loaded.change(saved=saved)
    loaded.cpus[0].state.own_frame = frame
    loaded.cpus[0].unwinds(*(frames or execution.callers))
    loaded.run("kw_tp")
    assert loaded.counters() == {"checked": 1, "mismatches": 1}
    loaded.close()


def test_verdict_with_many_functions_knows_which_one() -> None:
    world = World(V6_12, Random(3))
    (hit,) = tasks(world, 1)
    loaded = Loaded(world.kernel, many=1, special=1, verify=1, slow=1)
    for function in (TEXT + 0x800, TEXT + 0x900):
        loaded.cpus[0].state.cookie = function
        loaded.cpus[0].unwinds(function, *hit.callers)
        hit.run(loaded)
    assert loaded.counters() == {"checked": 2}
    loaded.close()


@pytest.mark.parametrize("layout", [*FP, V6_12], ids=repr)
@given(random=RANDOMS, switched=st.booleans())
def test_verdict_where_callers_are_on_another_stack(
    layout: Layout, random: Random, switched: bool
) -> None:
    """By frame pointers the kernel then has FUNC only; on one stack that is a mismatch."""
    world = World(layout, random)
    execution = world.begin()
    execution.call(world.switching)
    if switched:
        execution.switch_stack()
    execution.call(world.func, prologue=False)
    loaded = compared(world)
    loaded.cpus[0].unwinds(world.func.start)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    excused = switched and layout.frame_pointers
    verdict = "stack_switch" if excused else "mismatches"
    assert loaded.counters() == {"checked": 1, verdict: 1}
    loaded.close()


@by_layout
@pytest.mark.parametrize("answers", [True, False])
def test_verdict_where_the_kernels_first_answer_is_another_hits(
    layout: Layout, answers: bool
) -> None:
    """The kernel is asked again only after a difference, while the hit's stack is still there."""
    world = World(layout, Random(5), plain=True)
    (hit,) = tasks(world, 1)
    found = []
    for at in range(200):
        loaded = compared(world, output=Output.EVENT, method=Method.MANUAL)
        cpu = loaded.cpus[0]
        cpu.unwinds(world.func.start, *hit.callers[:-1], NEW, NEW)
        right = (world.func.start, *hit.callers)

        def change(cpu: Cpu = cpu, right: tuple[int, ...] = right) -> None:
            cpu.unwinds(*right, error=0 if answers else -14)

        with loaded.pause(at, change):
            hit.run(loaded)
        counted = loaded.counters()
        found.append(next(reversed(counted), "nothing"))
        assert counted.get("checked", 0) == (found[-1] != "nothing")
        loaded.close()
        if found[-1] == "mismatches":
            break
    kinds = ["checked", "overwritten", "mismatches"] if answers else ["nothing", "mismatches"]
    assert list(dict.fromkeys(found)) == kinds
