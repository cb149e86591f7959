# SPDX-License-Identifier: MIT
"""Short records: texts made with the events, events without a stack, columns that last."""

from __future__ import annotations

import planted
import pytest
from engine import Engine
from hypothesis import given
from hypothesis import strategies as st
from planted import A, B, C, D

from kwalk.abi import DIFFERS, FALLBACK
from kwalk.decode import short
from kwalk.engine.capture import Capture
from kwalk.model.event import Call, Clocks, Who
from kwalk.options.probe import ProbeOptions


def render(call: Call) -> bytes:
    return f"{call.who} {call.stack.addresses}\n".encode()


@pytest.mark.parametrize("most", [0, 2, 5, 1 << 14])
def test_texts_are_those_of_the_calls(
    engine: Engine, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are kept are bounded; then reports make them."""
    monkeypatch.setattr(short, "MOST_TEXTS", most)
    with Capture("ip_rcv", ProbeOptions(verify=1)) as capture:
        capture.reader.make_texts(render)
        nobodys = engine.kernels(D, C, flags=FALLBACK)  # the kernel's stack lacks the function
        differs = engine.walked(A, B, flags=DIFFERS, other=engine.planted.walked(C))
        engine.ring = [
            [engine.walked(A, pid=1), nobodys, engine.walked(A, B, pid=2), differs],
            [engine.walked(C, pid=pid, comm=b"sh", cpu=1) for pid in range(3)],
            [nobodys, engine.walked(A, pid=9)],
        ]
        batches = [batch for _ in range(3) for batch in capture.reader.batches()]
        summary = capture.reader.summary()
    kept = {bool(batch.texts) for batch in batches if len(batch)}
    assert kept == ({True} if most > 9 else {False} if most == 0 else {True, False})
    for batch in batches:
        assert list(batch.texts) in ([], list(map(render, batch.calls)))
    pids = [call.who.pid for batch in batches for call in batch.calls if call.who]
    assert pids == [1, 2, 7, 0, 1, 2, 9]
    assert (summary.ledger.recorded, summary.ledger.lost) == (7, {"no_entry_frame": 2})
    assert summary.verify
    assert len(summary.verify.differences) == 1


def test_calls_of_a_batch_are_the_same_after_their_keys_were_given_again(engine: Engine) -> None:
    with Capture("ip_rcv", ProbeOptions()) as capture:
        nodes = [engine.planted.walked(A), engine.planted.walked(A, B)]
        engine.ring = [
            [planted.short(node, pid=turn, key=key, anew=not key) for key, node in enumerate(nodes)]
            for turn in range(3)
        ]
        # All are read before one is looked at.
        batches = [batch for _ in range(3) for batch in capture.reader.batches()]
        found = [(call.stack.addresses[1:], call.who) for batch in batches for call in batch.calls]
    expected = [(stack, Who(0, 7, turn, "redis")) for turn in range(3) for stack in ((A,), (A, B))]
    assert found == expected


RECORDS = st.lists(st.binary(min_size=16, max_size=16), max_size=140)


@given(RECORDS, st.integers(-150, 150), st.integers(-150, 150))
def test_clocks_are_a_column_of_their_texts(clocks: list[bytes], start: int, stop: int) -> None:
    memory = memoryview(b"".join(bytes(16) + clock + bytes(8) for clock in clocks))
    column = Clocks(memory, 40, 16)
    assert list(column) == clocks
    assert len(column) == len(clocks)
    assert list(column[start:stop]) == clocks[start:stop]
    first, second = column[start:].words()
    halves = [
        a.to_bytes(8, "little") + b.to_bytes(8, "little")
        for a, b in zip(first, second, strict=True)
    ]
    assert halves == clocks[start:]
    for at in range(-len(clocks), len(clocks)):
        assert column[at] == clocks[at]
