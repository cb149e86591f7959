# SPDX-License-Identifier: MIT
"""Filters: hits that pass are walked, all others are counted as filtered."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import V6_12
from loaded import Loaded
from worlds import Reader, World, tasks

from kwalk.abi import PLACES, TASKS, Filtered
from kwalk.transport.filter_maps import drop_tasks, put_tasks

NAMES = [b"redis", b"redis-server-01", b"redis-server-02", b"", b"sshd"]
NUMBERS = [1, 63, 64, 65, 4194303, 77]
CGROUPS = [7, 8, 1 << 33]
NETNSES = [4026531840, 4026532000, 5]


def comms(*names: bytes) -> bytes:
    return b"".join(name.ljust(16, b"\0") for name in names)


@given(
    asked=st.integers(0, 63),
    wanted=st.randoms(use_true_random=False).map(lambda r: r.getrandbits(64)).map(Random),
)
def test_filters_must_all_hold(asked: int, wanted: Random) -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1, 1)
    names = wanted.sample(NAMES, wanted.randint(1, 4))
    netnses = wanted.sample(NETNSES, wanted.randint(1, 2))
    # Each at its level: a cgroup of the same name elsewhere is another one.
    levels = [wanted.randint(0, 3) for _ in range(wanted.randint(1, 3))]
    cgroups = [wanted.choice(CGROUPS) for _ in levels]
    processes, threads = wanted.sample(NUMBERS, 2), wanted.sample(NUMBERS, 3)
    closed = wanted.choice(([], [1], [0, 1]))
    loaded = Loaded(
        world.kernel,
        func=world.func.start,
        special=1,
        filter=asked,
        comm=comms(*names),
        comms=len(names),
        netnses=len(netnses),
        cgroups=len(cgroups),
        cgroup_level=b"".join(level.to_bytes(4, "little") for level in levels),
    )
    places = {
        "cgroup": b"".join(each.to_bytes(8, "little") for each in cgroups),
        "netns": b"".join(each.to_bytes(4, "little") for each in netnses),
    }
    loaded.write("places", PLACES.pack(places))
    put_tasks(loaded.mapped("processes"), processes)
    put_tasks(loaded.mapped("threads"), threads)
    gates = loaded.own_gates()
    gates.shut(closed)
    taken = refused = 0
    for _ in range(25):
        cpu = wanted.randint(0, 1)
        state = loaded.cpus[cpu].state
        comm, tgid, pid = wanted.choice(NAMES), wanted.choice(NUMBERS), wanted.choice(NUMBERS)
        loaded.cpus[cpu].task(tgid, pid, comm)
        state.netns = wanted.choice([*NETNSES, 0])
        ancestors = [wanted.choice(CGROUPS) for _ in range(4)]
        state.cgroups[0:4] = ancestors
        hit.run(loaded, cpu)
        holds = {
            Filtered.CPU: cpu not in closed,
            Filtered.PROCESS: tgid in processes,
            Filtered.THREAD: pid in threads,
            Filtered.COMM: comm in names,
            Filtered.NETNS: state.netns in netnses,
            Filtered.CGROUP: any(
                ancestors[level] == cgroup for level, cgroup in zip(levels, cgroups, strict=True)
            ),
        }
        if all(holds[each] for each in Filtered if asked & each):
            taken += 1
        else:
            refused += 1
        assert (loaded.tree.hits(), gates.filtered()) == (taken, refused)
    assert sum(Reader(loaded).counts().values()) == taken
    assert loaded.counters() == {}
    gates.close()
    loaded.close()


@pytest.mark.parametrize("alone", list(Filtered))
def test_filter_that_is_asked_for_alone_is_that_filter(alone: Filtered) -> None:
    world = World(V6_12, Random(1))
    (hit,) = tasks(world, 1, 1)
    loaded = Loaded(
        world.kernel, func=world.func.start, special=1, filter=alone, comm=comms(b"redis"),
        comms=1, netnses=1, cgroups=1, cgroup_level=bytes([2]),
    )  # fmt: skip
    loaded.write("places", PLACES.pack({"cgroup": bytes([9]), "netns": bytes([5])}))
    put_tasks(loaded.mapped("processes"), [5])
    put_tasks(loaded.mapped("threads"), [6])
    gates = loaded.own_gates()
    gates.shut([1])
    good: dict[str, Any] = {
        "cpu": 0,
        "tgid": 5,
        "pid": 6,
        "comm": b"redis",
        "netns": 5,
        "cgroup": 9,
    }
    bad: dict[str, Any] = {"cpu": 1, "tgid": 6, "pid": 5, "comm": b"sshd", "netns": 6, "cgroup": 8}
    of = {
        Filtered.CPU: "cpu",
        Filtered.PROCESS: "tgid",
        Filtered.THREAD: "pid",
        Filtered.COMM: "comm",
        Filtered.NETNS: "netns",
        Filtered.CGROUP: "cgroup",
    }
    for right in (True, False):
        one = good if right else bad
        values = {**(bad if right else good), of[alone]: one[of[alone]]}
        cpu = loaded.cpus[values["cpu"]]
        cpu.task(values["tgid"], values["pid"], values["comm"])
        cpu.state.netns = values["netns"]
        cpu.state.cgroups[2] = values["cgroup"]
        hit.run(loaded, values["cpu"])
    assert (loaded.tree.hits(), gates.filtered()) == (1, 1)
    gates.close()
    loaded.close()


@given(
    parent=st.sampled_from([5, 6]),
    child=st.integers(1, TASKS - 1),
    thread=st.booleans(),
)
def test_follow_puts_what_a_wanted_process_starts_into_the_set(
    parent: int, child: int, thread: bool
) -> None:
    world = World(V6_12, Random(1))
    loaded = Loaded(world.kernel)
    processes = loaded.mapped("processes")
    put_tasks(processes, [5])
    tgid = parent if thread else child
    tasks_ = loaded.host_task(parent, parent), loaded.host_task(child, tgid)
    assert loaded.run("kw_fork", loaded.pointers(*tasks_)) == 0
    expected = {5} | ({tgid} if parent == 5 else set())
    assert loaded.numbers("processes") == expected
    # It ends, and its number may be reused. Threads of it that end change nothing.
    loaded.run("kw_free", loaded.pointers(loaded.host_task(9999, tgid)))
    assert loaded.numbers("processes") == expected
    loaded.run("kw_free", loaded.pointers(loaded.host_task(tgid, tgid)))
    assert loaded.numbers("processes") == expected - {tgid}
    drop_tasks(processes, [5])
    assert loaded.numbers("processes") == expected - {tgid} - {5}
    loaded.close()
