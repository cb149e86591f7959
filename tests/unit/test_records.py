# SPDX-License-Identifier: MIT
"""Records come out of the ring as they went in, by rows as by columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import record

from kwalk.decode import records
from kwalk.decode.names import process_name
from kwalk.decode.records import Columns, Record, rows
from kwalk.profile import Who
from kwalk.transport.abi import BRIEF_BYTES, EVENT, NO_ID, TRUNCATED

U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (32, 64))
S32 = st.integers(-(1 << 31), (1 << 31) - 1)
# Few of each, so that some are equal.
FEW = st.integers(0, 2)
COMMS = st.sampled_from((b"redis", b"re\0is", b"", b"sixteen bytes ok"))
MEMBERS = st.fixed_dictionaries(
    {
        "node": U32,
        "flags": U32,
        "other": U32,
        "stack_id": S32,
        "time_ns": U64,
        "cpu": U32 | FEW,
        "tgid": U32 | FEW,
        "pid": U32 | FEW,
        "comm": st.binary(max_size=16) | COMMS,
    }
)


def run(members: list[dict[str, Any]], brief: bool = False) -> memoryview:
    return memoryview(b"".join(record(**each, brief=brief) for each in members))


@given(st.lists(MEMBERS, max_size=9))
def test_a_record_comes_out_as_it_went_in(members: list[dict[str, Any]]) -> None:
    expected = [Record(**(each | {"comm": each["comm"].ljust(16, b"\0")})) for each in members]
    assert list(rows(run(members), brief=False)) == expected


@given(st.lists(MEMBERS, max_size=9))
def test_of_a_brief_record_the_stack_comes_out(members: list[dict[str, Any]]) -> None:
    kept = ("node", "stack_id", "other", "flags")
    expected = [Record(**{name: each[name] for name in kept}) for each in members]
    assert list(rows(run(members, brief=True), brief=True)) == expected


@given(st.lists(MEMBERS, min_size=1, max_size=20), st.booleans())
def test_columns_are_the_rows_turned(members: list[dict[str, Any]], brief: bool) -> None:
    table = run(members, brief)
    found = list(rows(table, brief))
    columns, size = Columns(), BRIEF_BYTES if brief else EVENT.size
    assert columns.nodes(table, size) == [row.node for row in found]
    assert columns.flags(table, size) == [row.flags for row in found]
    if not brief:
        assert columns.times(table) == [row.time_ns for row in found]
        assert columns.who(table) == [row.who() for row in found]


@given(st.lists(st.lists(MEMBERS, min_size=1, max_size=5), max_size=5))
def test_equal_ones_of_who_are_one_object_in_every_run(runs: list[list[dict[str, Any]]]) -> None:
    columns = Columns()
    seen: dict[Who, Who] = {}
    raw: dict[tuple[object, ...], Who] = {}
    for members in runs:
        for each, who in zip(members, columns.who(run(members)), strict=True):
            assert seen.setdefault(who, who) == who
            key = each["cpu"], each["tgid"], each["pid"], each["comm"].ljust(16, b"\0")
            assert raw.setdefault(key, who) is who


def test_a_machine_that_starts_processes_all_the_time_takes_no_more_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "MOST_KNOWN", 4)
    columns = Columns()
    members: list[dict[str, Any]] = [{"tgid": number, "pid": number} for number in range(40)]
    found = columns.who(run(members))
    assert [who.tgid for who in found] == list(range(40))
    assert len(columns._who) <= 4


def test_a_record_in_the_bytes_of_the_abi() -> None:
    raw = bytes.fromhex(
        "3800000012340000"  # the ring's own: length, page number
        "40020000f4ffffff" "8002000009000000"  # node, stack_id, other, flags
        "0102000000000000" "0300000064000000"  # time_ns, cpu, tgid
        "6500000000000000"  # pid, reserved
    )  # fmt: skip
    buffer = bytearray(raw + b"redis-\xff\0garbage\0")
    (found,) = rows(memoryview(buffer), brief=False)
    (who,) = Columns().who(memoryview(buffer))
    buffer[:] = bytes(len(buffer))  # the kernel reuses the space
    assert found == Record(
        node=0x240,
        stack_id=-12,
        flags=TRUNCATED | NO_ID,
        cpu=3,
        other=0x280,
        time_ns=0x201,
        tgid=100,
        pid=101,
        comm=b"redis-\xff\0garbage\0",
    )
    assert found.who() == who == Who(3, 100, 101, "redis-\N{REPLACEMENT CHARACTER}")


@given(st.binary(max_size=16))
def test_a_processs_name_is_one_line_of_printable_text(comm: bytes) -> None:
    name = process_name(comm.ljust(16, b"\0"))
    assert name.isprintable()
    assert len(name) <= len(comm.split(b"\0")[0])
    if comm.isascii() and comm.decode().isprintable():
        assert name == comm.decode()


def test_a_processs_name_cannot_write_to_the_terminal() -> None:
    assert process_name(b"\x1b[2J\n\0\x1b") == "?[2J?"
