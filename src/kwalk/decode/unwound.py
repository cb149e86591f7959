# SPDX-License-Identifier: MIT
"""Records of the helper method to stacks, while their stack ids are valid."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator

from kwalk.abi import BRIEF_BYTES, EVENT, JUMPED, NO_ID, SECOND_MAP
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import Record, rows
from kwalk.decode.stacks import StackTable
from kwalk.model.stack import Stack
from kwalk.transport.ring import Ring
from kwalk.transport.stack_maps import StackMaps

_Raw = tuple[int, ...]
# A stream may run for days, and a distinct stack takes about 2.5 kB.
MOST_STACKS = 1 << 14


class HelperRecords:
    """Reads records once the stack map of their ids is idle.

    :param brief: The records hold stacks only.
    :param endless: Forget stacks beyond ``MOST_STACKS``; then equal stacks are not always one
        object.
    """

    def __init__(
        self,
        ring: Ring,
        maps: StackMaps,
        table: StackTable,
        contexts: Contexts,
        brief: bool,
        endless: bool = False,
    ) -> None:
        self._ring = ring
        self._maps = maps
        self._table = table
        self._contexts = contexts
        self._brief = brief
        self._endless = endless
        # Records whose map is still being filled, and records with their stacks.
        self._waiting: list[Record] = []
        self._ready: deque[tuple[Record, _Raw | None]] = deque()
        self._cut: dict[tuple[_Raw, int, int], Stack | None] = {}

    def __iter__(self) -> Iterator[tuple[Record, Stack | None, str]]:
        """Yield each record with its stack, or with the cause of its loss."""
        for record, raw in self._with_stacks():
            if record.flags & NO_ID:
                cause = errno.errorcode.get(-record.stack_id, "other").lower()
                yield record, None, cause
            elif raw is None:
                yield record, None, "stack_gone"
            else:
                stack = self._stack(raw, record)
                yield record, stack, "" if stack else "no_entry_frame"

    def _stack(self, raw: _Raw, record: Record) -> Stack | None:
        follows = self._contexts.caller(record.node) if record.flags & JUMPED else 0
        key = raw, follows, self._contexts.function(record.node)
        if key not in self._cut:
            if self._endless and len(self._cut) >= MOST_STACKS:
                self._cut.clear()
                self._table.forget()
            self._cut[key] = self._table.unwound(raw, follows=follows, function=key[2])
        return self._cut[key]

    def _with_stacks(self) -> Iterator[tuple[Record, _Raw | None]]:
        if not self._ready:
            idle = self._maps.swap()
            records, self._waiting = self._waiting, []
            size = BRIEF_BYTES if self._brief else EVENT.size
            for table in self._ring.batch(size, complete=True):
                records += rows(table, self._brief)
            stacks: dict[int, _Raw | None] = {}
            for record in records:
                if bool(record.flags & SECOND_MAP) != bool(idle):
                    self._waiting.append(record)
                    continue
                if record.stack_id >= 0 and record.stack_id not in stacks:
                    stacks[record.stack_id] = self._maps.stack(idle, record.stack_id)
                self._ready.append((record, stacks.get(record.stack_id)))
            self._maps.clear(idle)
        while self._ready:
            yield self._ready.popleft()
