# SPDX-License-Identifier: MIT
"""Records of the manual method to events: nearly all of them a column at a time."""

from __future__ import annotations

from kwalk.decode.comparison import Comparison
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import Columns, Record, rows
from kwalk.profile import Batch, Stack
from kwalk.transport.abi import BRIEF_BYTES, DIFFERS, EVENT, TRUNCATED


class _Stacks(dict[int, Stack]):
    """Offset of a node -> the stack that was walked to there."""

    def __init__(self, contexts: Contexts) -> None:
        super().__init__()
        self._contexts = contexts

    def __missing__(self, offset: int) -> Stack:
        stack = self._contexts.stack(offset)
        assert stack is not None, "a stack that was walked begins at FUNC"
        self[offset] = stack
        return stack


class WalkedRecords:
    """Turns runs of records into batches of events.

    :param brief: The records tell the stack only.
    """

    def __init__(self, contexts: Contexts, comparison: Comparison, brief: bool) -> None:
        self._contexts = contexts
        self._comparison = comparison
        self._brief = brief
        self._stacks = _Stacks(contexts)
        self._columns = Columns()
        self.size = BRIEF_BYTES if brief else EVENT.size

    def batch(self, table: memoryview) -> tuple[Batch, bool, int]:
        """Return the events of a run, and how many had no stack with the function in it.

        The flag in between: some stacks are truncated or the kernel's own.
        """
        columns, size = self._columns, self.size
        times = [] if self._brief else columns.times(table)
        who = [] if self._brief else columns.who(table)
        if not any(columns.flags(table, size)):
            stacks = list(map(self._stacks.__getitem__, columns.nodes(table, size)))
            return Batch(times, who, stacks), False, 0
        found = [self.stack(record) for record in rows(table, self._brief)]
        kept = [index for index, stack in enumerate(found) if stack is not None]
        batch = Batch(
            [times[index] for index in kept] if times else [],
            [who[index] for index in kept] if who else [],
            [stack for stack in found if stack is not None],
        )
        return batch, True, len(found) - len(kept)

    def stack(self, record: Record) -> Stack | None:
        """Return a record's stack; None if it is the kernel's, and the function is not in it."""
        stack = self._contexts.stack(record.node, bool(record.flags & TRUNCATED))
        if record.flags & DIFFERS:
            self._comparison.difference(record, stack)
        return stack
