# SPDX-License-Identifier: MIT
"""The ring's records, ``struct kw_event``: rows where a look is needed, else columns."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kwalk.decode.names import process_name
from kwalk.profile import Who
from kwalk.transport.abi import BRIEF_BYTES, EVENT
from kwalk.transport.ring import HEADER

_ROW = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes))
_BRIEF = struct.Struct(f"<{HEADER}x" + "".join(EVENT.codes[:4]))
assert _BRIEF.size == HEADER + BRIEF_BYTES
# The end of a record, from "cpu" on: whose call it was.
_WHO = struct.Struct("<IIII16s")
_WHO_ONLY = struct.Struct(f"<{_ROW.size - _WHO.size}x{_WHO.size}s")
MOST_KNOWN = 1 << 16


class Record(NamedTuple):
    """One record; time and who it was are blank in brief ones."""

    node: int
    stack_id: int
    other: int
    flags: int
    time_ns: int = 0
    cpu: int = 0
    tgid: int = 0
    pid: int = 0
    reserved: int = 0
    comm: bytes = b""

    def who(self) -> Who:
        """Return whose call it is."""
        return Who(self.cpu, self.tgid, self.pid, process_name(self.comm))


def rows(table: memoryview, brief: bool) -> Iterator[Record]:
    """Return the records of a run, one by one."""
    return (Record(*row) for row in (_BRIEF if brief else _ROW).iter_unpack(table))


class _WhoTable(dict[tuple[bytes], Who]):
    """The end of a record -> whose call it was."""

    def __missing__(self, key: tuple[bytes]) -> Who:
        if len(self) >= MOST_KNOWN:
            self.clear()  # of a machine that starts processes all the time
        cpu, tgid, pid, _, comm = _WHO.unpack(key[0])
        who = self[key] = Who(cpu, tgid, pid, process_name(comm))
        return who


class Columns:
    """The members of a run of records, each as one list."""

    def __init__(self) -> None:
        self._who = _WhoTable()

    @staticmethod
    def nodes(table: memoryview, size: int) -> list[int]:
        """Return each record's ``node``."""
        return table.cast("I")[HEADER // 4 :: (size + HEADER) // 4].tolist()

    @staticmethod
    def flags(table: memoryview, size: int) -> list[int]:
        """Return each record's ``flags``."""
        return table.cast("I")[(HEADER + 12) // 4 :: (size + HEADER) // 4].tolist()

    @staticmethod
    def times(table: memoryview) -> list[int]:
        """Return each record's ``time_ns``."""
        return table.cast("Q")[(HEADER + 16) // 8 :: _ROW.size // 8].tolist()

    def who(self, table: memoryview) -> list[Who]:
        """Return whose call each record is of; equal ones are one object."""
        return list(map(self._who.__getitem__, _WHO_ONLY.iter_unpack(table)))
