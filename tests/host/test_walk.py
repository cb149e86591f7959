# SPDX-License-Identifier: MIT
"""The walk, on stacks of every kind, by every layout of the kernel's types."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, Layout
from loaded import Loaded
from worlds import Reader, World
from x86 import reference

RANDOMS = st.builds(Random, st.integers(0, (1 << 32) - 1))


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
@given(random=RANDOMS)
def test_walk_finds_the_callers(layout: Layout, random: Random) -> None:
    world = World(layout, random, lookup=random.random() < 0.7)
    execution = world.stacked()
    unwinder = reference.from_entry(world.kernel, execution.sp, execution.bp)
    assert reference.stack(unwinder) == execution.callers
    loaded = Loaded(world.kernel, func=world.func.start)
    regs = execution.regs(world.func.start)
    for _ in range(3):  # new frames, then down the tree
        assert loaded.run("kw_kprobe", regs) == 0
    expected = (world.func.start, *execution.callers)
    assert Reader(loaded, world.func.start).counts() == {(expected, "whole"): 3}
    assert loaded.tree.hits() == 3
    assert loaded.counters() == {}
    loaded.close()
