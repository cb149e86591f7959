# SPDX-License-Identifier: MIT
"""Facts about x86-64's unwinder: which one, and the format of ORC tables."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from kernel import Kernel
from layouts import FP_NEW, ORC, Layout
from loaded import Loaded
from worlds import World

from kwalk.abi import FACTS, Unwinder
from kwalk.arch.x86_64 import orc
from x86.rules import FRAME, Orc

TABLE = 0xFFFFFFFF84000000


@pytest.mark.parametrize("layout", ORC, ids=repr)
@pytest.mark.parametrize("typed", [0, 1])
def test_facts_tell_the_format_of_the_rules(layout: Layout, typed: int) -> None:
    world = World(layout, Random(1))
    memory = world.kernel.memory
    memory.area(TABLE, 64)
    memory.put(TABLE, FRAME.encode(layout) + b"\xff\xff")
    memory.put(TABLE + 8, Orc("call", "sp", 8).encode(layout) + b"\xff\xff")
    memory.put(TABLE + 16, bytes(range(20)))
    loaded = Loaded(world.kernel, typed_loads=typed)
    asked = {"orc_fp_entry": TABLE, "orc_null_entry": TABLE + 8, "orc_header": TABLE + 16}
    loaded.run("kw_facts", FACTS.pack(asked))
    found: dict[str, Any] = FACTS.unpack(loaded.answered(FACTS.size))
    assert found["unwinder"] == Unwinder.ORC
    assert found["header"] == bytes(range(20))
    known = orc.read_format(found["fp_entry"], found["null_entry"])
    assert known == (layout.registers["sp"], layout.registers["cfa"])
    loaded.close()


def test_facts_of_a_kernel_with_neither_unwinder() -> None:
    lacks = {"struct unwind_state, next_bp", "struct task_struct, stack_vm_area"}
    loaded = Loaded(Kernel(FP_NEW, without=frozenset(lacks)))
    loaded.run("kw_facts", FACTS.pack({}))
    found: dict[str, Any] = FACTS.unpack(loaded.answered(FACTS.size))
    loaded.close()
    assert found["unwinder"] == Unwinder.NONE
    assert found["stack_pages"] == 0
