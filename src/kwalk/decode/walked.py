# SPDX-License-Identifier: MIT
"""Brief records of the manual method to events, nearly all by one look-up."""

from __future__ import annotations

from kwalk.abi import BRIEF_BYTES, DIFFERS, TRUNCATED
from kwalk.decode import records
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import MOST_KNOWN, Calls, Record
from kwalk.decode.verify import DifferenceCollector
from kwalk.model.event import Batch, Call
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Stack
from kwalk.support.columns import look_up


class WalkedRecords:
    """Turns runs of brief records into batches of events."""

    size = BRIEF_BYTES

    def __init__(self, contexts: Contexts, comparison: DifferenceCollector, calls: Calls) -> None:
        self._contexts = contexts
        self._comparison = comparison
        self._calls = calls
        self._known: dict[int, Call] = {}
        # Calls that the ledger records one by one: truncated, or fallback.
        self._marked: set[Call] = set()

    def batch(self, table: memoryview, ledger: Ledger) -> Batch:
        """Return the events of a run, and count all of its records in the ledger."""
        words = records.stack_words(table)
        try:
            calls = look_up(self._known, words)
        except KeyError:
            if not self._learn(set(words)):
                return self._by_rows(table, ledger)
            calls = look_up(self._known, words)
        if self._marked and not self._marked.isdisjoint(calls):
            for call in calls:
                ledger.record(call.stack, 1)
        else:
            ledger.recorded += len(calls)
        return Batch(calls)

    def _learn(self, words: set[int]) -> bool:
        """Add calls to the table; return False if the run has to be read row by row."""
        if len(self._known) + len(words) > MOST_KNOWN:
            self._known.clear()
            self._marked.clear()
        for word in words - self._known.keys():
            record = records.from_word(word)
            stack = None if record.flags & DIFFERS else self.stack(record)
            if stack is None:
                return False
            call = self._known[word] = self._calls.call(stack, None)
            if stack.truncated or stack.fallback:
                self._marked.add(call)
        return True

    def _by_rows(self, table: memoryview, ledger: Ledger) -> Batch:
        found = (
            (record, self.stack(record), "no_entry_frame") for record in records.rows(table, True)
        )
        return self._calls.batch(found, ledger, True)

    def stack(self, record: Record) -> Stack | None:
        """Return a record's stack; None if it is the kernel's and lacks FUNC."""
        stack = self._contexts.stack(record.node, bool(record.flags & TRUNCATED))
        if record.flags & DIFFERS:
            self._comparison.difference(record, stack)
        return stack
