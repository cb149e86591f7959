# SPDX-License-Identifier: MIT
"""The sides of a difference find each other, and what never does takes no memory."""

from __future__ import annotations

import struct
import tracemalloc

from kwalk.decode.comparison import Comparison
from kwalk.decode.records import Record
from kwalk.decode.stacks import StackTable
from kwalk.transport.abi import COUNTERS, DIFFERS, OTHER

FUNC = 0xFFFFFFFF81000000


def record(time_ns: int, cpu: int, flags: int) -> Record:
    return Record(time_ns, 0, 7, 7, cpu, 0, flags, "redis", struct.pack("<2Q", FUNC, 1))


def test_differences_that_get_no_other_side_take_no_more_memory_with_time() -> None:
    table = StackTable(FUNC, 127, insert_caller=False)
    comparison = Comparison(table, 1)
    stack = table.walked(struct.pack("<Q", FUNC), False)
    tracemalloc.start()
    try:
        for time_ns in range(20_000):
            comparison.one_side(record(time_ns, time_ns % 4, DIFFERS), stack)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    for time_ns in range(20_000):
        comparison.other_side(record(time_ns, time_ns % 4, DIFFERS | OTHER))
    found = comparison.verify(dict.fromkeys(COUNTERS.fields, 0))
    assert found
    assert len(found.differences) == 4  # each CPU's last
