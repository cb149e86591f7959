# SPDX-License-Identifier: MIT
"""Results of hits: records in the ring, the helper's stacks, losses."""

from __future__ import annotations

import errno
from collections import Counter
from random import Random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from layouts import V6_1, V6_12, V7_1, Layout
from loaded import Loaded
from worlds import RANDOMS, Reader, World, tasks

from kwalk.abi import (
    BRIEF_BYTES,
    COUNT,
    COUNTED,
    EVENT,
    JUMPED,
    NO_ID,
    NUMBERLESS,
    SECOND_MAP,
    SHORT,
    WEIGHT_ONE,
    Method,
    Output,
    Per,
)
from kwalk.decode.records import Calls
from kwalk.decode.short import ShortRecords
from kwalk.decode.verify import DifferenceCollector
from kwalk.decode.walked import WalkedRecords
from kwalk.model.event import Call, Event, Who
from kwalk.model.ledger import Ledger
from kwalk.transport.ring import HEADER, PAGE

layouts = pytest.mark.parametrize("layout", [V6_1, V6_12], ids=repr)
DAY = 86_400 * 10**9


def streamed(world: World, output: Output = Output.EVENT, **settings: int) -> Loaded:
    settings = {"func": world.func.start, "slow": 1, "output": output, **settings}
    return Loaded(world.kernel, **settings)


def decoded(loaded: Loaded, brief: bool = False) -> tuple[list[Event | Call], Ledger]:
    """The events in the ring, read by kwalk's reader; of brief records the calls."""
    reader = Reader(loaded)
    comparison = DifferenceCollector(reader.contexts, 0)
    kind: type[WalkedRecords | ShortRecords] = WalkedRecords if brief else ShortRecords
    records, ledger = kind(reader.contexts, comparison, Calls()), Ledger()
    found: list[Event | Call] = []
    for run in loaded.ring.batch(records.size):
        batch = records.batch(run, ledger)
        found += batch.calls if brief else batch.events()
    return found, ledger


@layouts
@given(random=RANDOMS, brief=st.booleans())
def test_records_are_read_as_the_calls_that_they_are_of(
    layout: Layout, random: Random, brief: bool
) -> None:
    world = World(layout, random)
    hits = tasks(world, 3)
    loaded = streamed(world, Output.BRIEF if brief else Output.EVENT, ring=2 * PAGE)
    expected: list[tuple[object, object]] = []
    for _ in range(20):
        hit, cpu = random.choice(hits), random.randint(0, 1)
        pid = random.choice((5, 77777))
        name = random.choice((b"redis", b"sshd", b"a" * 15))
        loaded.cpus[cpu].task(5, pid, name)
        hit.run(loaded, cpu)
        who = None if brief else Who(cpu, 5, pid, name.decode())
        expected.append(((world.func.start, *hit.callers), who))
    found, ledger = decoded(loaded, brief)
    assert [(each.stack.addresses, each.who) for each in found] == expected
    assert ledger.recorded == loaded.tree.hits() == 20
    assert loaded.counters() == {}
    loaded.close()


@example(now=10**9 - 250, midnight=0, steps=[0, 10**9 - 250])  # a second later to the nanosecond
@given(
    now=st.integers(1, 2**50),
    midnight=st.integers(0, DAY - 1),
    steps=st.lists(st.integers(0, 3 * 10**9), min_size=1, max_size=8),
)
@pytest.mark.parametrize("helper", [False, True])
def test_records_say_the_time_of_day(
    helper: bool, now: int, midnight: int, steps: list[int]
) -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1)
    method = Method.HELPER if helper else Method.MANUAL
    loaded = streamed(world, midnight_ns=midnight, ring=2 * PAGE, method=method)
    loaded.cpus[0].unwinds(world.func.start)
    layout = EVENT if helper else SHORT
    expected = []
    state = loaded.cpus[0].state
    state.now = now
    for step in steps:
        state.now += step
        hit.run(loaded)
        expected.append(state.now)
    found = [layout.unpack(record[HEADER:]) for record in loaded.records(layout.size)]
    for event, time in zip(found if helper else found[1:], expected, strict=True):
        us = (time + midnight) % DAY // 1000
        seconds, us = divmod(us, 1_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{us:06} "
        assert event["time_ns"] == time
        assert event["clock"] == clock.encode()  # type: ignore[comparison-overlap]
    loaded.close()


FORMS = {
    "event": (Output.EVENT, Method.MANUAL, SHORT.size, 1),  # and a record of the task
    "brief": (Output.BRIEF, Method.MANUAL, BRIEF_BYTES, 0),
    "helper": (Output.EVENT, Method.HELPER, EVENT.size, 0),
}
forms = pytest.mark.parametrize("form", FORMS)


@layouts
@forms
def test_records_that_do_not_fit_are_counted(layout: Layout, form: str) -> None:
    output, method, size, more = FORMS[form]
    world = World(layout, Random(1))
    (hit,) = tasks(world, 1)
    loaded = streamed(world, output, method=method)
    loaded.cpus[0].unwinds(world.func.start)
    room = (PAGE - 1) // (size + HEADER)
    for _ in range(room - more + 5):
        hit.run(loaded)
    assert loaded.counters() == {"lost_ring_full": 5}
    assert len(loaded.records(size)) == room
    for _ in range(3):  # there is room again, beyond the end of the ring
        hit.run(loaded)
    assert len(loaded.records(size)) == 3
    assert loaded.counters() == {"lost_ring_full": 5}
    assert loaded.tree.hits() == room - more + 8
    loaded.close()


@layouts
@forms
def test_records_are_lost_while_the_ring_is_locked(layout: Layout, form: str) -> None:
    """An NMI does not wait; if the ring is full as well, that is the cause."""
    output, method, _, _ = FORMS[form]
    world = World(layout, Random(1))
    (hit,) = tasks(world, 1)
    loaded = streamed(world, output, method=method)
    loaded.cpus[0].unwinds(world.func.start)
    loaded.cpus[0].state.ring_locked = 1
    hit.run(loaded)
    assert loaded.counters() == {"lost_ring_busy": 1}
    loaded.cpus[0].state.ring_locked = 0
    while not loaded.counters().get("lost_ring_full"):
        hit.run(loaded)
    loaded.cpus[0].state.ring_locked = 1
    hit.run(loaded)
    assert loaded.counters() == {"lost_ring_busy": 1, "lost_ring_full": 2}
    loaded.close()


@layouts
def test_records_number_tasks_as_their_namespace_does(layout: Layout) -> None:
    world = World(layout, Random(1))
    kernel = world.kernel
    one, two = tasks(world, 2)
    own = kernel.allocate(64)
    kernel.number(one.task, 2, [100, 200, 300], own)
    leader = kernel.new_task()
    kernel.number(leader, 1, [1000, 2000], own)
    kernel.set(one.task, "struct task_struct", group_leader=leader)
    kernel.number(two.task, 1, [101, 201], kernel.allocate(64))
    loaded = streamed(world, Output.NUMBERED, pidns=own, pidns_level=1)
    for hit in (one, two, one):
        hit.run(loaded)
    numbers = [each.who and (each.who.tgid, each.who.pid) for each in decoded(loaded)[0]]
    assert numbers == [(2000, 200), (None, None), (2000, 200)]
    loaded.close()


# The helper's stacks


def helped(world: World, output: Output, **settings: int) -> Loaded:
    settings = {"func": world.func.start, "slow": 1, "method": Method.HELPER, **settings}
    return Loaded(world.kernel, output=output, **settings)


@layouts
@pytest.mark.parametrize("output", [Output.EVENT, Output.NUMBERED])
def test_record_of_the_helper_has_the_task(layout: Layout, output: Output) -> None:
    world = World(layout, Random(1))
    (hit,) = tasks(world, 1)
    own = world.kernel.allocate(64)
    world.kernel.number(hit.task, 1, [100, 200], own)
    leader = world.kernel.new_task()
    world.kernel.number(leader, 1, [1000, 2000], own)
    world.kernel.set(hit.task, "struct task_struct", group_leader=leader)
    loaded = helped(world, output, pidns=own, pidns_level=1)
    loaded.cpus[1].unwinds(world.func.start, 5)
    loaded.cpus[1].task(1000, 100, b"redis")
    hit.run(loaded, 1)
    (event,) = [EVENT.unpack(record[HEADER:]) for record in loaded.records()]
    numbers = (2000, 200) if output == Output.NUMBERED else (1000, 100)
    assert (event["tgid"], event["pid"], event["cpu"]) == (*numbers, 1)
    assert event["comm"] == b"redis".ljust(16, b"\0")  # type: ignore[comparison-overlap]
    loaded.close()


@layouts
@given(random=RANDOMS, second=st.booleans())
def test_helper_sends_ids_of_the_map_in_use(layout: Layout, random: Random, second: bool) -> None:
    world = World(layout, random)
    (hit,) = tasks(world, 1)
    loaded = helped(world, Output.EVENT)
    loaded.change(active_map=int(second))
    stacks = [[world.func.start, 5, 6, 7], [world.func.start, 8]]
    for number in (0, 1, 0):
        loaded.cpus[0].unwinds(*stacks[number])
        hit.run(loaded)
    events = [EVENT.unpack(record[HEADER:]) for record in loaded.records()]
    assert {e["flags"] for e in events} == {SECOND_MAP if second else 0}
    assume("lost_eexist" not in loaded.counters())
    ids = [e["stack_id"] for e in events]
    assert ids[0] == ids[2] != ids[1]
    assert [loaded.stack(second, i) for i in ids[:2]] == stacks
    assert [loaded.stack(not second, i) for i in ids[:2]] == [[], []]
    assert [e["node"] for e in events] == [0, 0, 0]
    loaded.close()


ERRORS = {
    errno.EEXIST: "lost_eexist",
    errno.ENOMEM: "lost_enomem",
    errno.EFAULT: "lost_efault",
    errno.EBUSY: "lost_ebusy",
    errno.EINVAL: "lost_other",
}


@pytest.mark.parametrize("output", [Output.COUNT, Output.EVENT])
@pytest.mark.parametrize("error", ERRORS)
def test_helper_counts_its_losses_by_their_cause(output: Output, error: int) -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1)
    loaded = helped(world, output)
    loaded.cpus[0].unwinds(error=-error)
    for _ in range(2):
        hit.run(loaded)
    assert loaded.counters() == {ERRORS[error]: 2}
    assert loaded.records() == []
    assert loaded.counted() == {}
    loaded.close()


@layouts
@pytest.mark.parametrize("per", [Per.NOTHING, Per.PID, Per.COMM, Per.CPU, Per.CGROUP])
@given(random=RANDOMS)
def test_helper_counts_by_stack_and_group(layout: Layout, per: Per, random: Random) -> None:
    world = World(layout, random)
    (hit,) = tasks(world, 1)
    loaded = helped(world, Output.COUNT, per=per, entries=64)
    stacks = [[world.func.start, 5, 6], [world.func.start, 8]]
    expected: Counter[tuple[int, bytes]] = Counter()
    names: dict[tuple[int, int, int], bytes] = {}
    for _ in range(20):
        cpu, index = random.randint(0, 1), random.randint(0, 1)
        tgid, comm = random.choice((1, 4194303)), random.choice((b"redis", b"sshd"))
        loaded.cpus[cpu].task(tgid, tgid, comm)
        loaded.cpus[cpu].state.cgroup = cgroup = random.choice((7, 1 << 33))
        loaded.cpus[cpu].unwinds(*stacks[index])
        hit.run(loaded, cpu)
        value = {
            Per.NOTHING: b"",
            Per.PID: tgid.to_bytes(8, "little"),
            Per.COMM: comm,
            Per.CPU: cpu.to_bytes(8, "little"),
            Per.CGROUP: cgroup.to_bytes(8, "little"),
        }[per]
        expected[index, value.ljust(16, b"\0")] += 1
        names.setdefault((index, tgid, cpu), comm)
    assume("lost_eexist" not in loaded.counters())  # both stacks in one bucket
    found: Counter[tuple[int, bytes]] = Counter()
    for key, rows in loaded.counted().items():
        stack_id, node, group = COUNTED.struct.unpack(key)
        assert node == 0
        found[stacks.index(loaded.stack(False, stack_id)), group] += sum(
            COUNT.struct.unpack(row)[0] for row in rows
        )
        index, tgid = (
            stacks.index(loaded.stack(False, stack_id)),
            int.from_bytes(group[:8], "little"),
        )
        for cpu, row in enumerate(rows):  # each CPU keeps the name that the process had first
            first = names.get((index, tgid, cpu), b"") if per == Per.PID else b""
            assert COUNT.struct.unpack(row)[2].rstrip(b"\0") == first
    assert found == expected
    assert loaded.counters() == {}
    loaded.close()


def test_helper_counts_what_its_map_has_no_room_for() -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1)
    loaded = helped(world, Output.COUNT, per=Per.PID)
    for tgid in range(1, 12):
        loaded.cpus[0].task(tgid, tgid, b"x")
        loaded.cpus[0].unwinds(world.func.start, 5)
        hit.run(loaded)
    assert len(loaded.counted()) == 8
    assert loaded.counters() == {"lost_map_full": 3}
    loaded.close()


def test_helper_knows_processes_without_a_number_by_their_name() -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1)
    world.kernel.number(hit.task, 0, [5], 0)
    own = world.kernel.allocate(8)
    loaded = helped(world, Output.COUNT, per=Per.NUMBER, pidns=own, pidns_level=1)
    loaded.cpus[0].unwinds(world.func.start, 5)
    for name in (b"redis", b"sshd", b"redis"):
        loaded.cpus[0].task(5, 5, name)
        hit.run(loaded)
    groups = {
        COUNTED.struct.unpack(key)[2]: COUNT.struct.unpack(rows[0])[0]
        for key, rows in loaded.counted().items()
    }
    mark = 0x80
    assert groups == {
        b"redis".ljust(15, b"\0") + bytes([mark]): 2,
        b"sshd".ljust(15, b"\0") + bytes([mark]): 1,
    }
    assert NUMBERLESS == 0x800000
    loaded.close()


def test_helper_weighs_what_was_sampled() -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1)
    loaded = helped(world, Output.COUNT, sampled=1, special=1)
    loaded.tree.sample(0.25)
    loaded.cpus[0].unwinds(world.func.start, 5)
    for _ in range(200):
        hit.run(loaded)
    ((_, rows),) = loaded.counted().items()
    number, weight, _ = COUNT.struct.unpack(rows[0])
    assert number == 200 - loaded.tree.sampled_out()
    assert weight == number * 4 * WEIGHT_ONE
    loaded.close()


@layouts
def test_helper_counts_many_functions_apart(layout: Layout) -> None:
    world = World(layout, Random(1))
    (hit,) = tasks(world, 1)
    loaded = helped(world, Output.COUNT, many=1, special=1, func=0)
    functions = [0xFFFFFFFF81000800, 0xFFFFFFFF81000900]
    for cpu, function in ((0, functions[0]), (1, functions[0]), (0, functions[1])):
        loaded.cpus[cpu].state.cookie = function
        loaded.cpus[cpu].unwinds(function, 5)
        hit.run(loaded, cpu)
    reader = Reader(loaded)
    found = Counter(
        {
            reader.contexts.function(COUNTED.struct.unpack(key)[1]): sum(
                COUNT.struct.unpack(row)[0] for row in rows
            )
            for key, rows in loaded.counted().items()
        }
    )
    assert found == {functions[0]: 2, functions[1]: 1}
    loaded.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_helper_knows_funcs_caller_where_func_is_not_in_the_stack(replaced: bool) -> None:
    """It jumped to the trampoline; maybe a kretprobe has the return address."""
    world = World(V7_1, Random(1))
    execution = world.begin()
    execution.call(world.functions[0])
    slot = execution.call(world.func, prologue=False)
    if replaced:
        world.kernel.rethook(slot, execution.callers[0])
    context = execution.jumped(1)
    loaded = helped(world, Output.EVENT, fentry=1)
    loaded.cpus[0].state.arguments = 1
    loaded.cpus[0].unwinds(77, *execution.callers)
    for _ in range(2):
        loaded.run("kw_fentry", context)
    events = [EVENT.unpack(record[HEADER:]) for record in loaded.records()]
    assert {e["flags"] for e in events} == {JUMPED}
    (node,) = {e["node"] for e in events}
    assert Reader(loaded).contexts.caller(node) == execution.callers[0]
    loaded.close()


def test_helper_needs_no_caller_where_func_is_in_the_stack() -> None:
    world = World(V7_1, Random(1))
    execution = world.stacked()
    context = execution.trampoline(world.func.start, 1)
    loaded = helped(world, Output.EVENT, fentry=1)
    loaded.cpus[0].state.arguments = 1
    loaded.cpus[0].unwinds(world.func.start + 9, *execution.callers)
    loaded.run("kw_fentry", context)
    (event,) = [EVENT.unpack(record[HEADER:]) for record in loaded.records()]
    assert (event["node"], event["flags"]) == (0, 0)
    loaded.close()


@layouts
@pytest.mark.parametrize("lost", [False, True])
def test_both_methods_tell_of_one_event(layout: Layout, lost: bool) -> None:
    world = World(layout, Random(1))
    (hit,) = tasks(world, 1)
    loaded = streamed(world, method=Method.BOTH)
    stack = [world.func.start, *hit.callers]
    loaded.cpus[0].unwinds(*([] if lost else stack), error=-errno.EEXIST if lost else 0)
    hit.run(loaded)
    (event,) = [EVENT.unpack(record[HEADER:]) for record in loaded.records()]
    reader = Reader(loaded)
    assert reader.shown(reader.contexts.stack(event["node"])) == (tuple(stack), "whole")
    if lost:
        assert (event["stack_id"], event["flags"]) == (-errno.EEXIST, NO_ID)
    else:
        assert loaded.stack(False, event["stack_id"]) == stack
        assert event["flags"] == 0
    loaded.close()
