# SPDX-License-Identifier: MIT
"""Records come out of the ring as they went in, by rows as by columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import record

from kwalk.abi import NO_ID, TRUNCATED
from kwalk.decode import records
from kwalk.decode.records import Calls, Record, process_name, rows
from kwalk.model.event import Batch, Who
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Stack

U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
S32 = st.integers(-(1 << 31), (1 << 31) - 1)
# Few of each, so that some are equal.
FEW = st.integers(0, 2)
COMMS = st.sampled_from((b"redis", b"re\0is", b"", b"sixteen bytes ok"))
MEMBERS = st.fixed_dictionaries(
    {
        "node": U32,
        "flags": U16,
        "other": U32,
        "stack_id": S32,
        "time_ns": U64,
        "clock": st.binary(min_size=16, max_size=16),
        "cpu": U16 | FEW,
        "tgid": U32 | FEW,
        "pid": U32 | FEW,
        "comm": st.binary(max_size=16) | COMMS,
    }
)


def run(members: list[dict[str, Any]], brief: bool = False) -> memoryview:
    return memoryview(b"".join(record(**each, brief=brief) for each in members))


@given(st.lists(MEMBERS, max_size=9))
def test_record_is_decoded_as_written(members: list[dict[str, Any]]) -> None:
    expected = [Record(**(each | {"comm": each["comm"].ljust(16, b"\0")})) for each in members]
    assert list(rows(run(members), brief=False)) == expected


@given(st.lists(MEMBERS, max_size=9))
def test_brief_record_is_decoded_as_written(members: list[dict[str, Any]]) -> None:
    kept = ("node", "stack_id", "other", "flags", "cpu")
    expected = [Record(**{name: each[name] for name in kept}) for each in members]
    assert list(rows(run(members, brief=True), brief=True)) == expected


@given(st.lists(MEMBERS, max_size=20))
def test_words_of_brief_records_tell_stacks_and_flags_apart(members: list[dict[str, Any]]) -> None:
    table = run(members, brief=True)
    known = [(row.node, row.flags, row.cpu) for row in rows(table, brief=True)]
    words = records.stack_words(table)
    assert [known.index(each) for each in known] == [words.index(word) for word in words]
    assert [(row.node, row.flags, row.cpu) for row in map(records.from_word, words)] == known
    assert Calls().batch([], Ledger(), brief=True) == Batch([])


def test_equal_calls_are_one_object_and_no_others() -> None:
    calls = Calls()
    first, second = Stack((1,)), Stack((1,))  # equal ones of a capture are one object, too
    who = Who(0, 7, 7, "redis")
    call = calls.call(first, who)
    assert calls.call(first, Who(0, 7, 7, "redis")) is call
    assert (call.stack, call.who) == (first, who)
    others = [
        calls.call(second, who),
        calls.call(first, None),
        calls.call(first, who._replace(cpu=1)),
    ]
    assert call not in others  # by identity
    assert [other.stack for other in others] == [second, first, first]


def test_calls_table_is_bounded_while_processes_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "MOST_KNOWN", 4)
    calls = Calls()
    stack = Stack((1,))
    found = [calls.call(stack, Who(0, number, number, "sh")) for number in range(40)]
    assert [call.who.tgid for call in found if call.who] == list(range(40))
    assert len(calls._known) <= 4


def test_record_is_decoded_from_abi_bytes() -> None:
    raw = bytes.fromhex(
        "4000000012340000"  # the ring's own: length, page number
        "f4ffffff80020000" "4002000009000300"  # stack_id, other, node, flags, cpu
        "6400000065000000"  # tgid, pid
        "72656469732dff006761726261676500"  # comm
        "32333a35393a30302e31323334353620" "0102000000000000"  # clock, time_ns
    )  # fmt: skip
    buffer = bytearray(raw)
    (found,) = rows(memoryview(buffer), brief=False)
    buffer[:] = bytes(len(buffer))  # the kernel reuses the space
    assert found == Record(
        node=0x240,
        stack_id=-12,
        flags=TRUNCATED | NO_ID,
        cpu=3,
        other=0x280,
        time_ns=0x201,
        clock=b"23:59:00.123456 ",
        tgid=100,
        pid=101,
        comm=b"redis-\xff\0garbage\0",
    )
    assert found.who() == Who(3, 100, 101, "redis-\N{REPLACEMENT CHARACTER}")


@given(st.binary(max_size=16))
def test_process_name_is_one_printable_line(comm: bytes) -> None:
    name = process_name(comm.ljust(16, b"\0"))
    assert name.isprintable()
    assert len(name) <= len(comm.split(b"\0")[0])
    if comm.isascii() and comm.decode().isprintable():
        assert name == comm.decode()


def test_process_name_has_no_escape_sequences() -> None:
    assert process_name(b"\x1b[2J\n\0\x1b") == "?[2J?"
