# SPDX-License-Identifier: MIT
"""The ring's records, ``struct kw_event``: rows where a look is needed, else columns."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from kwalk.decode.names import process_name
from kwalk.profile import Batch, Call, Who
from kwalk.transport.abi import BRIEF_BYTES, EVENT
from kwalk.transport.ring import HEADER

_ROW = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes))
_BRIEF = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes[:4]))
assert _BRIEF.size == HEADER + BRIEF_BYTES
# Whatever stands before the time is equal in many records.
_TIMELESS = struct.Struct("<" + "".join(EVENT.codes[:-2]))
_CLOCK_AT = HEADER + _TIMELESS.size
_CLOCK_BYTES = struct.calcsize(EVENT.codes[-2])
_KEY = f"{HEADER}x{_TIMELESS.size}s{_ROW.size - _CLOCK_AT}x"
_CLOCK = f"{_CLOCK_AT}x{_CLOCK_BYTES}s{_ROW.size - _CLOCK_AT - _CLOCK_BYTES}x"
_BLOCK = 64


class Record(NamedTuple):
    """One record; time and who it was are blank in brief ones."""

    node: int
    flags: int
    stack_id: int
    other: int
    comm: bytes = b""
    cpu: int = 0
    tgid: int = 0
    pid: int = 0
    reserved: int = 0
    clock: bytes = b""
    time_ns: int = 0

    def who(self) -> Who:
        """Return whose call it is."""
        return Who(self.cpu, self.tgid, self.pid, process_name(self.comm))


def rows(table: memoryview, brief: bool) -> Iterator[Record]:
    """Return the records of a run, one by one."""
    return (Record(*row) for row in (_BRIEF if brief else _ROW).iter_unpack(table))


def keys(table: memoryview, brief: bool) -> Sequence[int | bytes]:
    """Return what tells calls apart: equal where only the time differs.

    Of brief records that is the stack, hence nothing that is merely beside it.
    """
    if brief:  # node and flags
        return table.cast("Q")[HEADER // 8 :: _BRIEF.size // 8].tolist()
    return _column(_KEY, table)


def _column(code: str, table: memoryview) -> list[bytes]:
    """Return one piece of bytes of each record; many at once, since each call has its price."""
    count = len(table) // _ROW.size
    whole = count - count % _BLOCK
    split = whole * _ROW.size
    found = list(chain.from_iterable(struct.iter_unpack("<" + code * _BLOCK, table[:split])))
    found += struct.unpack("<" + code * (count - whole), table[split:])
    return found


def from_key(key: int | bytes) -> Record:
    """Return the record of a key, without what is not in the key."""
    if isinstance(key, int):
        return Record(key & 0xFFFFFFFF, key >> 32, 0, 0)
    return Record(*_TIMELESS.unpack(key))


def batch(table: memoryview, calls: Sequence[Call], brief: bool) -> Batch:
    """Return the events of a run, whose calls are known."""
    if brief:
        return Batch(calls)
    # Text wants no nanoseconds: a view, of a copy, since the ring's memory goes.
    times = memoryview(bytes(table)).cast("Q")[_ROW.size // 8 - 1 :: _ROW.size // 8]
    return Batch(calls, times, _column(_CLOCK, table))
