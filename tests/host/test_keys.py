# SPDX-License-Identifier: MIT
"""Keys in records of hits: an event has its own stack, name and PIDs, whatever came between."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import V6_1, V6_12, Layout
from library import ffi
from loaded import Loaded
from worlds import RANDOMS, Reader, World, tasks

from kwalk.abi import COUNTERS, KEYS, SHORT, SLOTS, Mark, Output
from kwalk.decode.records import Calls
from kwalk.decode.short import ShortRecords
from kwalk.decode.verify import DifferenceCollector
from kwalk.model.event import Event, Who
from kwalk.model.ledger import Ledger
from kwalk.transport.ring import HEADER, PAGE

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)
SLOTS_BYTES = 64


class Traced:
    """Programs that stream, and kwalk's reader of them."""

    def __init__(self, world: World, ring: int = 2 * PAGE, hits: int = 1, **settings: int) -> None:
        self.hits = tasks(world, hits)
        settings = {"func": world.func.start, "slow": 1, "output": Output.EVENT, **settings}
        self.cpus = 2
        self.loaded = Loaded(world.kernel, ring=ring, cpus=self.cpus, **settings)
        self.reader = Reader(self.loaded)
        self.comparison = DifferenceCollector(self.reader.contexts, 1)
        self.records = ShortRecords(self.reader.contexts, self.comparison, Calls())
        self.ledger = Ledger()

    def read(self) -> list[Event]:
        runs = self.loaded.ring.batch(self.records.size)
        return [each for run in runs for each in self.records.batch(run, self.ledger).events()]

    def lost(self) -> int:
        return sum(self.loaded.counters().values())

    def gave(self, keys: int, cpu: int = 0) -> None:
        """Set how many keys a CPU gave in its turn."""
        element = SLOTS * self.cpus + cpu
        at = self.loaded.maps["keys"].memory + element * SLOTS_BYTES + SLOTS_BYTES // 2 - 4
        ffi.memmove(at, keys.to_bytes(4, "little"), 4)


@layouts
@given(random=RANDOMS, ring=st.sampled_from([PAGE, 8 * PAGE]), wraps=st.booleans())
def test_events_have_the_task_that_was_current_at_the_hit(
    layout: Layout, random: Random, ring: int, wraps: bool
) -> None:
    """Also where slots are shared, the ring has no room or is locked, and keys are given again."""
    world = World(layout, random)
    traced = Traced(world, ring, hits=2)
    if wraps:
        for cpu in range(2):
            traced.gave(KEYS - random.randint(0, 5), cpu)
    pids = [7, 7 + SLOTS, 7 + 2 * SLOTS, 7 + 3 * SLOTS, 8]  # all but one have the same slots
    expected, found = [], []
    for _ in range(random.randint(1, 150)):
        hit, cpu, pid = random.choice(traced.hits), random.randint(0, 1), random.choice(pids)
        comm = random.choice((b"redis", b"sshd"))  # a task changes its name
        loaded, before = traced.loaded, traced.lost()
        loaded.cpus[cpu].task(random.choice((5, 6)), pid, comm)
        loaded.cpus[cpu].state.ring_locked = random.random() < 0.1
        hit.run(loaded, cpu)
        if traced.lost() == before:
            state = loaded.cpus[cpu].state
            who = Who(cpu, state.tgid, pid, comm.decode())
            expected.append(Event(state.now, who, (world.func.start, *hit.callers)))  # type: ignore[arg-type]
        if random.random() < 0.02:
            found += traced.read()
    found += traced.read()
    for event in found:
        event.stack = event.stack.addresses  # type: ignore[assignment]
    assert found == expected
    ledger, tree = traced.ledger, traced.loaded.tree
    assert ledger.recorded == len(expected) == tree.hits() - traced.lost()
    traced.loaded.close()


def keys(traced: Traced, *pids: int) -> list[int]:
    """Return the keys of records of one stack's hits by tasks; new ones are sent in front."""
    (hit,) = traced.hits
    for pid in pids:
        traced.loaded.cpus[0].task(pid, pid, b"sh")
        hit.run(traced.loaded)
    records = [SHORT.unpack(each[HEADER:]) for each in traced.loaded.records(SHORT.size)]
    return [each["key"] for each in records]


NEW = int(Mark.KEY)
FIRST = NEW | int(Mark.ANEW)


def test_task_that_comes_back_has_its_key_still() -> None:
    traced = Traced(World(V6_12, Random(1)))
    found = keys(traced, 7, 7 + SLOTS, 7, 7 + SLOTS, 8, 7)
    assert found == [FIRST, 0, NEW | 1, 1, 0, 1, NEW | 2, 2, 0]
    traced.loaded.close()


def test_older_key_of_a_slot_is_forgotten_and_not_given_again() -> None:
    traced = Traced(World(V6_12, Random(1)))
    pids = [7, 7 + SLOTS, 7 + 2 * SLOTS, 7 + SLOTS, 7 + 2 * SLOTS, 7]
    assert keys(traced, *pids) == [FIRST, 0, NEW | 1, 1, NEW | 2, 2, 1, 2, NEW | 3, 3]
    traced.loaded.close()


def test_keys_that_are_used_up_are_given_again_from_the_first() -> None:
    traced = Traced(World(V6_12, Random(1)))
    assert keys(traced, 5, 6) == [FIRST, 0, NEW | 1, 1]
    traced.gave(KEYS - 1)
    # No slot has one of before.
    last = KEYS - 1
    assert keys(traced, 7, 8, 6, 5) == [NEW | last, last, FIRST, 0, NEW | 1, 1, NEW | 2, 2]
    traced.loaded.close()


def test_stacks_of_a_task_that_share_slots_have_their_own_keys() -> None:
    traced = Traced(World(V6_12, Random(3)), hits=2)
    one, two = traced.hits
    one.run(traced.loaded)
    memory = ffi.buffer(traced.loaded.maps["keys"].memory, SLOTS * traced.cpus * SLOTS_BYTES)
    step = traced.cpus * SLOTS_BYTES
    (known,) = {bytes(memory[at : at + 32]) for at in range(0, len(memory), step)} - {bytes(32)}
    for at in range(0, len(memory), step):
        memory[at : at + 32] = known
    for hit in (two, one, two):
        hit.run(traced.loaded)
    found = [event.stack.addresses[1:] for event in traced.read()]
    assert found == [tuple(hit.callers) for hit in (one, two, one, two)]
    traced.loaded.close()


def test_key_that_did_not_fit_into_the_ring_is_sent_again() -> None:
    traced = Traced(World(V6_12, Random(1)))
    traced.loaded.cpus[0].state.ring_locked = 1
    assert keys(traced, 7) == []
    traced.loaded.cpus[0].state.ring_locked = 0
    assert keys(traced, 7) == [FIRST, 0]
    assert traced.loaded.counters() == {"lost_ring_busy": 1}
    traced.loaded.close()


def test_stacks_of_a_task_have_keys_of_their_own() -> None:
    world = World(V6_12, Random(3))
    traced = Traced(world, hits=3)
    for hit in traced.hits * 2:
        hit.run(traced.loaded)
    found = [event.stack.addresses[1:] for event in traced.read()]
    assert found == [tuple(hit.callers) for hit in traced.hits] * 2
    traced.loaded.close()


@layouts
def test_difference_is_read_with_the_event_that_it_is_of(layout: Layout) -> None:
    world = World(layout, Random(2))
    traced = Traced(world, verify=1)
    (hit,) = traced.hits
    right = [world.func.start, *hit.callers]
    traced.loaded.cpus[0].unwinds(*right)
    hit.run(traced.loaded)
    traced.loaded.cpus[0].unwinds(*right[:-1], 77)
    hit.run(traced.loaded)
    events = traced.read()
    assert [event.stack.addresses for event in events] == [tuple(right)] * 2
    assert {event.who for event in events} == {Who(0, 7, 7, "redis")}
    assert traced.ledger.recorded == 2
    counted = dict.fromkeys(COUNTERS.fields, 0) | {"checked": 2, "mismatches": 1}
    verify = traced.comparison.verify(counted)
    assert verify
    ((walked, kernel),) = verify.differences
    assert walked.addresses == tuple(right)
    assert kernel.addresses == (*right[:-1], 77)
    traced.loaded.close()


@layouts
def test_marks_of_a_stack_are_in_its_record(layout: Layout) -> None:
    """Truncated by the depth, or of the kernel's unwinder."""
    world = World(layout, Random(2))
    traced = Traced(world, max_frames=2)
    (hit,) = traced.hits
    hit.run(traced.loaded)
    (event,) = traced.read()
    assert event.stack.truncated
    assert not event.stack.fallback
    assert (traced.ledger.recorded, traced.ledger.truncated) == (1, 1)
    traced.loaded.close()
    world = World(layout, Random(2))
    traced = Traced(world, self_check=9)
    (hit,) = traced.hits
    traced.loaded.change(distrust=1)
    traced.loaded.cpus[0].unwinds(world.func.start, *hit.callers)
    hit.run(traced.loaded)
    (event,) = traced.read()
    assert event.stack.fallback
    assert (traced.ledger.recorded, traced.ledger.fallback) == (1, 1)
    traced.loaded.close()
