# SPDX-License-Identifier: MIT
"""Records of the ring (``struct kw_event``) as rows, as words, and as calls."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
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
# The word of a brief record that tells its stack: node, flags and CPU.
_STACK = struct.Struct("<" + "".join(EVENT.codes[2:5]))
MOST_KNOWN = 1 << 16
"""Most calls to remember: a machine may start processes all the time."""


@lru_cache(maxsize=4096)
def process_name(comm: bytes) -> str:
    """Return a ``comm``, which ends at a zero byte, as text."""
    # A process may put anything into its name, also line ends and terminal escapes.
    return plain(comm.split(b"\0", 1)[0].decode(errors="replace"))


def who(cpu: int, tgid: int, pid: int, comm: bytes) -> Who:
    """Return a CPU and a task, as programs write them."""
    tgid_or_none = None if tgid == NO_NUMBER else tgid
    pid_or_none = None if pid == NO_NUMBER else pid
    return Who(cpu, tgid_or_none, pid_or_none, process_name(comm))


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
        return who(self.cpu, self.tgid, self.pid, self.comm)


def rows(table: memoryview, brief: bool) -> Iterator[Record]:
    """Return the records of a run, one by one."""
    return (Record(*row) for row in (_BRIEF if brief else _ROW).iter_unpack(table))


def stack_words(table: memoryview) -> list[int]:
    """Return of each brief record of a run the word with its node, flags and CPU."""
    return table.cast("Q")[(HEADER + 8) // 8 :: _BRIEF.size // 8].tolist()


def from_word(word: int) -> Record:
    """Return a brief record that has such a word; its other members are 0."""
    return Record(0, 0, *_STACK.unpack(word.to_bytes(8, "little")))


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
