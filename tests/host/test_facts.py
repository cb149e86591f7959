# SPDX-License-Identifier: MIT
"""Programs that are run once: facts about the kernel, ftrace's places, numbers of tasks."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel import Kernel
from layouts import ALL, FP_NEW, V6_1, V6_12, Layout, types
from loaded import Loaded
from objects import TEXT
from worlds import World

from kwalk.abi import CALLS, CALLS_BYTES, FACTS, HERE, TASK, Unwinder

TABLE = TEXT + 0x3000000


def facts(kernel: Kernel, **asked: int) -> dict[str, Any]:
    loaded = Loaded(kernel)
    loaded.run("kw_facts", FACTS.pack(asked))
    found: dict[str, Any] = FACTS.unpack(loaded.answered(FACTS.size))
    loaded.close()
    return found


@pytest.mark.parametrize("layout", ALL, ids=repr)
def test_facts_tell_the_rest(layout: Layout) -> None:
    world = World(layout, Random(1))
    kernel = world.kernel
    kernel.memory.area(TABLE, 64)
    kernel.memory.put(TABLE, bytes(range(100, 132)) + b"\1\2")
    area = kernel.object("struct vm_struct")
    kernel.memory.put_int(kernel.at(area, "struct vm_struct", "nr_pages"), 8)
    kernel.set(kernel.task, "struct task_struct", stack_vm_area=area)
    found = facts(kernel, kprobes_disarmed=TABLE + 32)
    assert found["disarmed"] == 1
    assert found["stack_pages"] == 8
    assert found["counts_missed"] == layout.graph_words  # as new as that
    fp = layout.frame_pointers
    assert found["unwinder"] == (Unwinder.FRAME_POINTER if fp else Unwinder.ORC)
    assert found["fp_entry"] == found["null_entry"] == 0
    assert found["header"] == bytes(20)
    kernel.set(kernel.task, "struct task_struct", stack_vm_area=0)
    assert facts(kernel)["stack_pages"] == 0


@given(
    pages=st.lists(st.integers(0, 40), min_size=0, max_size=4),
    big=st.booleans(),
)
def test_places_of_ftrace_come_in_portions(pages: list[int], big: bool) -> None:
    kernel = Kernel(V6_12)
    size = types(V6_12.types, frozenset()).size("struct dyn_ftrace")
    if big:  # more than one portion of one page
        pages = [*pages, CALLS_BYTES // size + 100]
        kernel.memory.area(TABLE, size * pages[-1])
    first = 0
    expected: list[int] = []
    for number, records in list(enumerate(pages))[::-1]:
        at = TABLE if big and number == len(pages) - 1 else kernel.allocate(size * (records + 1))
        addresses = [TEXT + 0x10000 * number + 16 * n for n in range(records)]
        for n, address in enumerate(addresses):
            kernel.memory.put(at + n * size, struct.pack("<Q", address))
        first = kernel.object("struct ftrace_page", next=first, records=at)
        kernel.memory.put_int(kernel.at(first, "struct ftrace_page", "index"), records)
        expected = addresses + expected
    start = kernel.allocate(8)
    kernel.memory.put_word(start, first)
    loaded = Loaded(kernel)
    ask = {"page": start, "from": 0, "nr": 0, "size": 0, "first": 1}
    found: list[int] = []
    rounds = 0
    while ask["page"]:
        assert loaded.run("kw_calls", CALLS.pack(ask)) == 0
        ask = CALLS.unpack(loaded.answered(CALLS.size))
        assert (ask["size"], ask["first"]) == (size, 0)
        rows = loaded.map("calls").lookup(bytes(4), CALLS_BYTES)[: ask["nr"] * size]
        found += [row[0] for row in struct.iter_unpack(f"<Q{size - 8}x", rows)]
        rounds += 1
        assert rounds < 20
    assert found == expected
    loaded.close()


def test_places_of_ftrace_that_cannot_be_read_are_an_error() -> None:
    kernel = Kernel(V6_12)
    page = kernel.object("struct ftrace_page", records=0x1000)
    kernel.memory.put_int(kernel.at(page, "struct ftrace_page", "index"), 3)
    loaded = Loaded(kernel)
    assert loaded.run("kw_calls", CALLS.pack({"page": page})) == -1
    loaded.close()


@pytest.mark.parametrize("layout", [V6_1, FP_NEW], ids=repr)
@given(level=st.integers(0, 2), depth=st.integers(0, 5))
def test_namespaces_of_the_current_task_are_known(layout: Layout, level: int, depth: int) -> None:
    kernel = Kernel(layout)
    spaces = kernel.allocate(64)
    kernel.number(kernel.task, level, [5, 6, 7], spaces)
    cgroup = kernel.object("struct cgroup")
    kernel.memory.put_int(kernel.at(cgroup, "struct cgroup", "level"), depth)
    css = kernel.object("struct css_set", dfl_cgrp=cgroup)
    kernel.set(kernel.task, "struct task_struct", cgroups=css)
    loaded = Loaded(kernel)
    loaded.run("kw_here", HERE.pack({}))
    found = HERE.unpack(loaded.answered(HERE.size))
    own = spaces if level == 1 else kernel.space(level)
    assert found == {"pidns": own, "pidns_level": level, "cgroup_level": depth}
    loaded.close()


def test_tasks_have_the_readers_numbers() -> None:
    kernel = Kernel(V6_12)
    kernel.number(kernel.task, 1, [5, 1, 0], kernel.allocate(8))
    numbers = kernel.pid(2, [55, 77, 3], 0)
    loaded = Loaded(kernel)
    loaded.run("kw_tasks", loaded.iterated(55, 50, numbers))
    assert TASK.unpack(loaded.written()) == {"number": 77, "pid": 55, "tgid": 50, "reserved": 0}
    loaded.run("kw_tasks", bytes(16))
    assert loaded.written() == b""
    loaded.close()
