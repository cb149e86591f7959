# SPDX-License-Identifier: MIT
"""Records of the manual method to events, nearly all by one look-up."""

from __future__ import annotations

from kwalk.abi import BRIEF_BYTES, DIFFERS, EVENT, TRUNCATED
from kwalk.decode import records
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import MOST_KNOWN, Calls, Record
from kwalk.decode.verify import DifferenceCollector
from kwalk.model.event import Batch, Call
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Stack
from kwalk.support.columns import look_up


class WalkedRecords:
    """Turns runs of records into batches of events.

    :param brief: The records hold stacks only.
    """

    def __init__(
        self, contexts: Contexts, comparison: DifferenceCollector, calls: Calls, brief: bool
    ) -> None:
        self._contexts = contexts
        self._comparison = comparison
        self._calls = calls
        self._brief = brief
        self._known: dict[int | bytes, Call] = {}
        # Calls that the ledger records one by one: truncated, or fallback.
        self._marked: set[Call] = set()
        self.size = BRIEF_BYTES if brief else EVENT.size

    def batch(self, table: memoryview, ledger: Ledger) -> Batch:
        """Return the events of a run, and count all of its records in the ledger."""
        keys, clocks = records.columns(table, self._brief)
        try:
            calls = look_up(self._known, keys)
        except KeyError:
            if not self._learn(set(keys)):
                return self._by_rows(table, ledger)
            calls = look_up(self._known, keys)
        if self._marked and not self._marked.isdisjoint(calls):
            for call in calls:
                ledger.record(call.stack, 1)
        else:
            ledger.recorded += len(calls)
        return records.batch(table, calls, clocks)

    def _learn(self, keys: set[int | bytes]) -> bool:
        """Add calls to the table; return False if the run has to be read row by row."""
        if len(self._known) + len(keys) > MOST_KNOWN:
            self._known.clear()
            self._marked.clear()
        for key in keys - self._known.keys():
            record = records.from_key(key)
            stack = None if record.flags & DIFFERS else self.stack(record)
            if stack is None:
                return False
            who = None if self._brief else record.who()
            call = self._known[key] = self._calls.call(stack, who)
            if stack.truncated or stack.fallback:
                self._marked.add(call)
        return True

    def _by_rows(self, table: memoryview, ledger: Ledger) -> Batch:
        found = (
            (record, self.stack(record), "no_entry_frame")
            for record in records.rows(table, self._brief)
        )
        return self._calls.batch(found, ledger, self._brief)

    def stack(self, record: Record) -> Stack | None:
        """Return a record's stack; None if it is the kernel's and lacks FUNC."""
        stack = self._contexts.stack(record.node, bool(record.flags & TRUNCATED))
        if record.flags & DIFFERS:
            self._comparison.difference(record, stack)
        return stack
