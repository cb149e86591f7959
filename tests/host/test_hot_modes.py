# SPDX-License-Identifier: MIT
"""Generated programs that return to the entry program, and hits that never get to them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hots import FALLBACK, Hot, Stack, build, kinds
from hypothesis import given
from hypothesis import strategies as st
from layouts import ALL, V6_1, V6_12, Layout
from library import ffi
from test_hot import balanced, new_world
from worlds import RANDOMS, Reader, World

from kwalk.abi import (
    BRIEF_BYTES,
    EVENT,
    HOT_PROGRAM,
    JUMPED,
    KEY,
    SHORT,
    SHORT_FLAGS,
    Filtered,
    Mark,
    Output,
    Per,
)
from kwalk.abi import FALLBACK as FELL_BACK
from kwalk.transport.ring import HEADER, PAGE

by_layout = pytest.mark.parametrize("layout", ALL, ids=repr)
by_attach = pytest.mark.parametrize("fentry", [False, True], ids=["kprobe", "fentry"])
by_start = pytest.mark.parametrize("start", ["plain", "shifted", "jumped"])
layouts = pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)


def some(world: World, number: int, start: str = "plain") -> list[Stack]:
    """Return stacks of any kinds."""
    every = kinds(world.kernel.layout.frame_pointers)
    found = [build(world, world.random.choice(every)) for _ in range(number)]
    for stack in found:
        stack.start = start
    return found


def made(stacks: list[Stack], fentry: bool, **settings: Any) -> Hot:
    """Return a probe with a program for these stacks, seen on CPU 0."""
    hot = Hot(stacks[0].world, fentry, **settings)
    for stack in stacks:
        hot.hit(stack)
    assert hot.make()
    return hot


def brief_nodes(hot: Hot) -> list[tuple[int, int]]:
    """Return the node and the flags of all records of ``Output.BRIEF``."""
    records = (each[HEADER:].ljust(EVENT.size, b"\0") for each in hot.loaded.records(BRIEF_BYTES))
    return [(int(event["node"]), int(event["flags"])) for event in map(EVENT.unpack, records)]


def keyed_nodes(hot: Hot) -> list[tuple[int, int]]:
    """Return the same of ``Output.EVENT``, whose hits have a key."""
    nodes: dict[int, int] = {}
    found = []
    for record in hot.loaded.records(SHORT.size):
        key = SHORT.unpack(record[HEADER:])["key"]
        if key & Mark.KEY:
            nodes[key & (Mark.ANEW - 1)] = KEY.unpack(record[HEADER:])["node"]
        else:
            found.append((nodes[key] & ~SHORT_FLAGS, nodes[key] & SHORT_FLAGS))
    return found


def events(hot: Hot, brief: bool = True) -> list[tuple[tuple[int, ...], int]]:
    """Return the stack and the flags of all records."""
    reader, found = Reader(hot.loaded), []
    for node, flags in brief_nodes(hot) if brief else keyed_nodes(hot):
        stack = reader.contexts.stack(node) if not flags & FELL_BACK else None
        found.append((stack.addresses if stack else (FALLBACK,), flags))
    return found


@by_layout
@by_start
@given(random=RANDOMS, brief=st.booleans(), typed=st.integers(0, 1))
def test_records_have_the_node_and_the_flags_of_the_walk(
    layout: Layout, start: str, random: Random, brief: bool, typed: int
) -> None:
    world = new_world(layout, random)
    stacks = some(world, 3, start)
    alone = {id(stack): next(iter(stack.alone(True)[0])) for stack in stacks}
    output = Output.BRIEF if brief else Output.EVENT
    hot = made(stacks, True, slow=1, output=output, ring=4 * PAGE, typed_loads=typed)
    before = hot.taken
    hits = [*stacks, *(random.choice(stacks) for _ in range(9))]
    for number, stack in enumerate(hits):
        hot.hit(stack, random.randint(0, 1) if number >= len(stacks) else 0)
    found = events(hot, brief)
    assert len(found) == hot.loaded.tree.hits() == 15
    assert found[:3] == found[3:6]  # by the walk, and by the program
    flags = JUMPED if start == "jumped" and brief else 0
    for (addresses, of), stack in zip(found, [*stacks, *hits], strict=True):
        expected, how = alone[id(stack)]
        if how == "whole":
            assert (addresses, of) == (expected, flags)
        else:
            assert of & FELL_BACK
    assert hot.taken > before
    assert balanced(hot)
    assert hot.loaded.counters() == {}
    hot.close()


@layouts
@by_attach
def test_records_that_do_not_fit_are_lost(layout: Layout, fentry: bool) -> None:
    world = new_world(layout, Random(5))
    room = (PAGE - 1) // (BRIEF_BYTES + HEADER)
    stack = build(world, "interrupt")
    hot = made([stack], fentry, slow=1, output=Output.BRIEF)
    for _ in range(room + 4):
        assert hot.takes(stack)
    assert hot.loaded.counters() == {"lost_ring_full": 5}
    assert len(hot.loaded.records(BRIEF_BYTES)) == room
    hot.loaded.cpus[0].state.ring_locked = 1
    assert hot.takes(stack)
    assert hot.loaded.counters() == {"lost_ring_full": 5, "lost_ring_busy": 1}
    hot.close()


@by_layout
@by_attach
@given(random=RANDOMS)
def test_groups_are_those_of_the_hits(layout: Layout, fentry: bool, random: Random) -> None:
    world = new_world(layout, random)
    stacks = [build(world, kind) for kind in ("user", "softirq")]
    hot = made(stacks, fentry, slow=1, per=int(Per.PID))
    expected: Counter[tuple[tuple[int, ...], int]] = Counter()
    for stack in stacks:
        expected[stack.addresses, 7] += 1
    for _ in range(12):
        stack, cpu, process = random.choice(stacks), random.randint(0, 1), random.choice((5, 6))
        hot.loaded.cpus[cpu].task(process, process, b"redis")
        hot.hit(stack, cpu)
        expected[stack.addresses, process] += 1
        hot.fill(path for path in hot.reader.read() if path.key in hot.numbers)
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for (addresses, group), count in Reader(hot.loaded, Per.PID).groups().items():
        assert group
        assert group.number is not None
        found[addresses, group.number] += count
    assert found == expected
    assert hot.missed <= 2  # the first of each on the other CPU
    hot.close()


@by_layout
@by_start
@given(random=RANDOMS, typed=st.integers(0, 1))
def test_verified_hits_are_those_of_the_program_too(
    layout: Layout, start: str, random: Random, typed: int
) -> None:
    world = new_world(layout, random)
    stack = build(world, random.choice(("user", "framed", "softirq", "thread")))
    stack.start = start
    settings = {"slow": 1, "verify": 1, "typed_loads": typed}
    tracer = [0xFFFFFFFFC0B00010]
    own = [] if start == "jumped" else [world.func.start + 5]
    hot = Hot(world, True, **settings)
    right = [*tracer, *own, *stack.execution.callers]
    stack.kernels = right
    hot.hit(stack)
    assert hot.make() == 1
    assert hot.takes(stack)
    assert hot.loaded.counters() == {"checked": 2}
    stack.kernels = [*right[:-1], right[-1] ^ 4]
    assert hot.takes(stack)
    assert hot.loaded.counters() == {"checked": 3, "mismatches": 1}
    assert hot.counts() == {(stack.addresses, "whole"): 3}
    hot.close()


@by_layout
@by_attach
@given(random=RANDOMS, first=st.integers(1, 5))
def test_first_hits_of_each_cpu_are_checked_and_walked(
    layout: Layout, fentry: bool, random: Random, first: int
) -> None:
    world = new_world(layout, random)
    stack = build(world, "user")
    stack.kernels = [world.func.start + 5, *stack.execution.callers]
    hot = made([stack], fentry, slow=1, self_check=first)
    for cpu in (0, 1):
        for _ in range(first - hot.loaded.hits_of(cpu)):
            assert not hot.takes(stack, cpu)
    assert hot.missed == 0
    assert hot.loaded.counters() == {"checked": 2 * first}
    hot.fill(path for path in hot.reader.read())
    for cpu in (0, 1):
        assert hot.takes(stack, cpu)
    assert hot.loaded.counters() == {"checked": 2 * first}
    assert hot.counts() == {(stack.addresses, "whole"): 2 * first + 2}
    hot.close()


@by_layout
def test_distrusted_walks_fall_back_behind_programs_too(layout: Layout) -> None:
    """The kernel's unwinder decides from the first difference on."""
    world = new_world(layout, Random(2))
    stack = build(world, "user")
    stack.kernels = [world.func.start + 5, *stack.execution.callers]
    hot = made([stack], False, slow=1, self_check=1)
    assert hot.takes(stack)
    hot.loaded.change(distrust=1)
    stack.kernels = None
    assert hot.takes(stack)
    assert hot.counts() == {
        (stack.addresses, "whole"): 2,
        ((world.func.start, FALLBACK), "fallback"): 1,
    }
    hot.close()


@by_layout
@by_attach
@given(random=RANDOMS, slow=st.booleans())
def test_filtered_hits_reach_no_program(
    layout: Layout, fentry: bool, random: Random, slow: bool
) -> None:
    world = new_world(layout, random)
    stack = build(world, "user")
    hot = Hot(
        world, fentry, special=1, filter=int(Filtered.COMM), comm=b"redis".ljust(16, b"\0"),
        comms=1, slow=int(slow), per=int(Per.PID) if slow else 0,
    )  # fmt: skip
    gates = hot.loaded.own_gates()
    hot.hit(stack)
    assert hot.make() == 1
    passed = refused = 0
    for _ in range(12):
        wanted = random.random() < 0.5
        hot.loaded.cpus[0].task(7, 7, b"redis" if wanted else b"sshd")
        before = hot.program.ran if hot.program else 0
        hot.hit(stack)
        assert hot.program
        assert (hot.program.ran > before) == wanted
        assert not hot.loaded.tree.hot(0)["resume"]
        passed, refused = passed + wanted, refused + (not wanted)
    assert gates.filtered() == refused
    assert hot.loaded.tree.hits() == passed + 1
    assert (hot.taken, hot.missed) == (passed, 0)
    assert sum(hot.counts().values()) == passed + 1
    gates.close()
    hot.close()


LAYOUTS = ("plain", "shifted", "jumped")


@by_layout
@given(
    random=RANDOMS,
    before=st.sampled_from(LAYOUTS),
    after=st.sampled_from(LAYOUTS),
    typed=st.integers(0, 1),
)
def test_trampolines_that_change_are_walked(
    layout: Layout, random: Random, before: str, after: str, typed: int
) -> None:
    world = new_world(layout, random)
    stack, other = some(world, 2, before)
    settings: dict[str, Any] = {"slow": 1, "output": Output.BRIEF, "typed_loads": typed}
    hot = made([stack, other], True, **settings)
    expected = hot.counts()
    stack.start = other.start = after
    taken = [hot.takes(stack), hot.takes(other)]
    if before != after:
        assert taken == [False, False]
    assert hot.counts() == {key: 2 * number for key, number in expected.items()}
    flags = [JUMPED if start == "jumped" else 0 for start in (before, before, after, after)]
    assert [of & JUMPED for _, of in events(hot)] == flags
    assert hot.make()
    assert hot.takes(stack) or hot.takes(other)
    hot.close()


@layouts
@by_attach
def test_emptied_slots_fall_through(layout: Layout, fentry: bool) -> None:
    """Hits are walked again without a program, and counted as such."""
    world = new_world(layout, Random(1))
    stack = build(world, "nmi")
    hot = made([stack], fentry)
    assert hot.takes(stack)
    hot.lib.host_set_tail(HOT_PROGRAM, ffi.NULL)
    assert not hot.takes(stack)
    assert hot.missed == 0
    assert hot.loaded.tree.hot(0)["unassisted"] == 2
    assert hot.counts() == {(stack.addresses, "whole"): 3}
    hot.close()
