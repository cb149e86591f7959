# SPDX-License-Identifier: MIT
"""Records of the ring (``struct kw_event``) as columns, as rows, and as calls."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from kwalk.abi import BRIEF_BYTES, EVENT, NO_NUMBER
from kwalk.model.event import Batch, Call, Who
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Stack
from kwalk.support.printable import plain
from kwalk.transport.ring import HEADER

_ROW = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes))
_BRIEF = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes[:5]))
assert _BRIEF.size == HEADER + BRIEF_BYTES
# From the node on, and without the time, many records are equal.
_CALL = struct.Struct("<" + "".join(EVENT.codes[2:8]))
_CALL_AND_CLOCK = f"{HEADER + 8}x{_CALL.size}s{struct.calcsize(EVENT.codes[8])}s8x"
assert struct.calcsize("<" + _CALL_AND_CLOCK) == _ROW.size
_BLOCK = 64
MOST_KNOWN = 1 << 16
"""Most calls to remember: a machine may start processes all the time."""


@lru_cache(maxsize=4096)
def process_name(comm: bytes) -> str:
    """Return a ``comm``, which ends at a zero byte, as text."""
    # A process may put anything into its name, also line ends and terminal escapes.
    return plain(comm.split(b"\0", 1)[0].decode(errors="replace"))


class Record(NamedTuple):
    """A record; task and time are blank in brief ones."""

    stack_id: int
    other: int
    node: int
    flags: int
    cpu: int = 0
    tgid: int = 0
    pid: int = 0
    comm: bytes = b""
    clock: bytes = b""
    time_ns: int = 0

    def who(self) -> Who:
        """Return the CPU and task of the hit."""
        tgid = None if self.tgid == NO_NUMBER else self.tgid
        pid = None if self.pid == NO_NUMBER else self.pid
        return Who(self.cpu, tgid, pid, process_name(self.comm))


def rows(table: memoryview, brief: bool) -> Iterator[Record]:
    """Return the records of a run, one by one."""
    return (Record(*row) for row in (_BRIEF if brief else _ROW).iter_unpack(table))


class Columns(NamedTuple):
    """Columns of a run of records.

    :ivar keys: A record's bytes without its times; of brief records the word with the stack.
    :ivar clocks: Times of day as text; empty for brief records.
    """

    keys: Sequence[int | bytes]
    clocks: Sequence[bytes] = ()


def columns(table: memoryview, brief: bool) -> Columns:
    """Return the records of a run as columns."""
    if brief:  # node, flags and CPU
        return Columns(table.cast("Q")[(HEADER + 8) // 8 :: _BRIEF.size // 8].tolist())
    # Many records at once, since each call of the unpacker has its price.
    count = len(table) // _ROW.size
    whole = count - count % _BLOCK
    split = whole * _ROW.size
    many, rest = "<" + _CALL_AND_CLOCK * _BLOCK, "<" + _CALL_AND_CLOCK * (count - whole)
    found = list(chain.from_iterable(struct.iter_unpack(many, table[:split])))
    found += struct.unpack(rest, table[split:])
    return Columns(found[::2], found[1::2])


def from_key(key: int | bytes) -> Record:
    """Return the record of a key; members that are not in the key are blank."""
    data = key.to_bytes(8, "little") if isinstance(key, int) else key
    return Record(0, 0, *_CALL.unpack(data.ljust(_CALL.size, b"\0")))


def batch(table: memoryview, calls: Sequence[Call], clocks: Sequence[bytes]) -> Batch:
    """Return the events of a run of records, given the call of each."""
    if not clocks:
        return Batch(calls)
    # A view of a copy, since the ring's memory is reused; text output never reads it.
    times = memoryview(bytes(table)).cast("Q")[_ROW.size // 8 - 1 :: _ROW.size // 8]
    return Batch(calls, times, clocks)


class Calls:
    """Makes one ``Call`` for all equal ones, up to ``MOST_KNOWN`` of them."""

    def __init__(self) -> None:
        self._known: dict[tuple[Stack, Who | None], Call] = {}

    def call(self, stack: Stack, who: Who | None) -> Call:
        """Return the ``Call`` of a stack and a task; brief records have no ``who``."""
        key = stack, who
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = Call(stack, who)
        return known

    def batch(
        self, found: Iterable[tuple[Record, Stack | None, str]], ledger: Ledger, brief: bool
    ) -> Batch:
        """Return the events of records, and count all of them in the ledger.

        :param found: Records, each with its stack, or None and the cause of its loss.
        :param brief: The records hold stacks only.
        """
        kept, calls = [], []
        for record, stack, cause in found:
            if stack is None:
                ledger.lose(cause, 1)
                continue
            ledger.record(stack, 1)
            kept.append(record)
            calls.append(self.call(stack, None if brief else record.who()))
        if brief:
            return Batch(calls)
        return Batch(calls, [row.time_ns for row in kept], [row.clock for row in kept])
