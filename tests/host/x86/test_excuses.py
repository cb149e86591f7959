# SPDX-License-Identifier: MIT
"""Verdicts of --verify where x86-64's unwinders are known to stop or to start elsewhere."""

from __future__ import annotations

from random import Random

import pytest
from comparing import NEW, TRACER, compared, flags
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, Layout
from worlds import RANDOMS, World

from kwalk.abi import (
    DIFFERS,
    JUMPED,
    Output,
    Place,
)

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)


@by_layout
@given(random=RANDOMS, case=st.sampled_from(["same", "other", "cut", "alone"]))
def test_verdict_where_func_jumped_to_the_trampoline(
    layout: Layout, random: Random, case: str
) -> None:
    """FUNC is not in the kernel's stack: its caller follows the trampoline."""
    world = World(layout, random)
    execution = world.begin()
    world.go(execution, 3)
    execution.call(world.func, prologue=False)
    callers = execution.callers
    context = execution.jumped(2)
    kernels = {
        "same": [*TRACER[:3], *callers],
        "other": [*TRACER[:3], callers[0], *callers[1:-1], NEW],
        "cut": TRACER[:3],
        "alone": TRACER[:3],
    }[case]
    frames = 3 if case == "cut" else 127
    loaded = compared(world, fentry=1, output=Output.BRIEF, kernel_frames=frames)
    loaded.cpus[0].state.arguments = 2
    loaded.cpus[0].unwinds(*kernels)
    loaded.run("kw_fentry", context)
    verdict = {"same": {"checked": 1}, "cut": {}}.get(case, {"checked": 1, "mismatches": 1})
    assert loaded.counters() == verdict
    (found,) = flags(loaded)
    assert found == JUMPED | (DIFFERS if "mismatches" in verdict else 0)
    loaded.close()


@by_layout
@given(random=RANDOMS, lacks=st.sampled_from(["caller", "all", "more"]), inner=st.integers(0, 5))
def test_verdict_on_a_kernel_that_begins_behind_the_int3(
    layout: Layout, random: Random, lacks: str, inner: int
) -> None:
    world = World(layout, random, functions=5)
    execution = world.begin()
    world.go(execution, 2)
    body = world.framed
    execution.call(body, prologue=inner >= 4)
    if 0 < inner < 4:
        execution.push(execution.fp)
    callers = execution.callers
    traced = body.start + inner
    kernels = {"caller": callers[1:], "all": [], "more": callers[2:]}[lacks]
    loaded = compared(world, func=traced, place=Place.INSIDE)
    loaded.change(start=1 if inner == 0 else 2 if inner < 4 else 3)
    loaded.cpus[0].unwinds(traced + 1, *kernels)
    loaded.run("kw_kprobe", execution.regs(traced))
    other_rule = inner in (0, 3)  # of the next byte
    if layout.frame_pointers:
        cause = "missing_caller" if lacks == "caller" else "mismatches"
    else:
        cause = "wrong_start" if other_rule and lacks != "more" else "mismatches"
    assert loaded.counters() == {"checked": 1, cause: 1}
    loaded.close()


@by_layout
@given(random=RANDOMS, switching=st.integers(0, 3), wrong=st.booleans())
def test_verdict_on_a_kernel_that_ends_with_what_an_nmi_interrupted(
    layout: Layout, random: Random, switching: int, wrong: bool
) -> None:
    """Between two tasks any kernel does; by frame pointers also where NMIs are nested."""
    world = World(layout, random)
    execution = world.begin()
    switch = world.functions[0]
    if switching:
        execution.call(switch)
        for _ in range(switching - 1):
            execution.call(world.functions[2])
    else:
        execution.call(world.functions[2])
    execution.interrupt(world.nmi, nmi=True)
    execution.call(world.functions[3])
    execution.call(world.func, prologue=False)
    callers = execution.callers
    nmi = next(n for n, a in enumerate(callers) if world.nmi.start <= a <= world.nmi.end)
    shown = [*callers[: nmi + 1], callers[nmi + 1]]
    if wrong:
        shown[0] ^= 4
        shown[1] ^= 4
    if switching % 2:
        world.kernel.symbols |= {"switch_start": switch.start, "switch_end": switch.end}
    else:
        world.kernel.symbols |= {"switch_asm_start": switch.start, "switch_asm_end": switch.end}
    loaded = compared(world)
    loaded.cpus[0].unwinds(world.func.start, *shown)
    loaded.run("kw_kprobe", execution.regs(world.func.start))
    switches = any(switch.start <= a < switch.end for a in callers[nmi + 1 :])
    if wrong:
        cause = "mismatches"
    elif switches:
        cause = "task_switch"
    else:
        cause = "nested_nmi" if layout.frame_pointers else "mismatches"
    assert loaded.counters() == {"checked": 1, cause: 1}
    loaded.close()
