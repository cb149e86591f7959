# SPDX-License-Identifier: MIT
"""Short records of the manual method (``struct kw_short``) to events, nearly all by one look-up.

A record has a key, which stands for a ``Call``: its place in a list. Other records, of the same
size, say what a key stands for, ahead of the first hit that has it, and where the walk and the
kernel's unwinder differed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from kwalk.abi import DIFFERENCE, DIFFERS, GATES, KEY, KEYS, SHORT, SHORT_FLAGS, TRUNCATED, Mark
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import Calls, Record, who
from kwalk.decode.verify import DifferenceCollector
from kwalk.model.event import Batch, Call, CallColumn, Clocks
from kwalk.model.ledger import Ledger
from kwalk.support.columns import look_up
from kwalk.transport.ring import HEADER

_SIZE = HEADER + SHORT.size
_CLOCK = HEADER + 8
_MARKED = re.compile(rb"[\x20-\xff]")  # the highest byte of a key with a mark
_MARKS = int(Mark.KEY | Mark.ANEW | Mark.DIFFERENCE)
_Item = TypeVar("_Item")
MOST_TEXTS = 1 << 14
"""Most texts to keep by key; beyond, reports keep their own."""


class ShortRecords:
    """Turns runs of short records into batches of events.

    :param cpus: Number of possible CPUs; each has keys for each level of programs.
    :ivar render: Makes the text of a call for ``Batch.texts``; None: no texts are wanted.
    """

    size = SHORT.size

    def __init__(
        self, contexts: Contexts, comparison: DifferenceCollector, calls: Calls, cpus: int = GATES
    ) -> None:
        self.render: Callable[[Call], bytes] | None = None
        self._contexts = contexts
        self._comparison = comparison
        self._shared = calls
        self._cpus = cpus
        self._calls: list[Call | None] = []  # by key
        self._texts: list[bytes | None] = []  # likewise
        self._rendered = 0
        # Keys of calls that the ledger records one by one (truncated, or fallback), and of no call.
        self._marked: set[int] = set()
        self._lost: set[int] = set()

    def batch(self, table: memoryview, ledger: Ledger) -> Batch:
        """Return the events of a run, and count all of its hits in the ledger."""
        keys = _keys(table)
        try:
            found = look_up(self._texts if self.render else self._calls, keys)
        except IndexError:
            parts = [self._learn(part, ledger) for part in _turns(table)]
            return parts[0] if len(parts) == 1 else Batch.joined(parts)
        if self._lost and not self._lost.isdisjoint(keys):
            return self._leave_out(table, ledger)
        return self._batch(keys, found, bytes(table), ledger)

    def _batch(
        self, keys: list[int], found: Sequence[object], data: bytes, ledger: Ledger
    ) -> Batch:
        calls = CallColumn(self._calls, keys)  # type: ignore[arg-type]  # lost ones are left out
        if self._marked and not self._marked.isdisjoint(keys):
            for call in calls:
                ledger.record(call.stack, 1)
        else:
            ledger.recorded += len(keys)
        memory = memoryview(data)  # a copy, since the ring's memory is reused
        times = memory.cast("Q")[_SIZE // 8 - 1 :: _SIZE // 8]
        texts: Sequence[bytes] = found if self.render else ()  # type: ignore[assignment]
        return Batch(calls, times, Clocks(memory, _SIZE, _CLOCK), texts)

    def _learn(self, table: memoryview, ledger: Ledger) -> Batch:
        """Return the events of a run that has new keys, or differences."""
        marked = _marked(table)
        if marked and marked[0] == 0 and _mark(table, 0) & Mark.ANEW:
            self._calls = self._calls.copy()  # columns of earlier batches have the other
        for at in marked:
            record = table[at * _SIZE + HEADER : (at + 1) * _SIZE]
            if _mark(table, at) & Mark.DIFFERENCE:
                self._take_difference(record)
            else:
                self._learn_key(record)
        hits = _without(table, marked)
        keys = _keys(hits)
        if self._lost and not self._lost.isdisjoint(keys):
            return self._leave_out(hits, ledger)
        found = look_up(self._texts, keys) if self.render else ()
        return self._batch(keys, found, bytes(hits), ledger)

    def _leave_out(self, hits: memoryview, ledger: Ledger) -> Batch:
        """Return the events of those hits that have a stack."""
        lost = [at for at, key in enumerate(_keys(hits)) if key in self._lost]
        ledger.lose("no_entry_frame", len(lost))
        rest = _without(hits, lost)
        keys = _keys(rest)
        found = look_up(self._texts, keys) if self.render else ()
        return self._batch(keys, found, bytes(rest), ledger)

    def _learn_key(self, data: memoryview) -> None:
        key, node, tgid, pid, comm = KEY.struct.unpack(data)
        key &= ~_MARKS
        stack = self._contexts.stack(node & ~SHORT_FLAGS, bool(node & TRUNCATED))
        task = who(key // KEYS % self._cpus, tgid, pid, comm)
        call = self._shared.call(stack, task) if stack else None
        for keys, belongs in (
            (self._marked, stack and (stack.truncated or stack.fallback)),
            (self._lost, not stack),
        ):
            keys.add(key) if belongs else keys.discard(key)
        _put(self._calls, key, call)
        if self.render:
            known = key < len(self._texts) and self._texts[key]
            self._rendered += not known
            _put(self._texts, key, self.render(call) if call else None)
            if self._rendered > MOST_TEXTS:
                self.render = None
                self._texts.clear()

    def _take_difference(self, data: memoryview) -> None:
        _, node, other, _ = DIFFERENCE.struct.unpack(data)
        record = Record(0, other, node & ~SHORT_FLAGS, node & SHORT_FLAGS | DIFFERS)
        stack = self._contexts.stack(record.node, bool(node & TRUNCATED))
        self._comparison.difference(record, stack)


def _keys(table: memoryview) -> list[int]:
    return table.cast("I")[HEADER // 4 :: _SIZE // 4].tolist()


def _mark(table: memoryview, at: int) -> int:
    """Return the marks of a record."""
    return table.cast("I")[(at * _SIZE + HEADER) // 4] & _MARKS


def _marked(table: memoryview) -> list[int]:
    """Return the places of records that are of no hit."""
    highest = table[HEADER + 3 :: _SIZE].tobytes()
    return [match.start() for match in _MARKED.finditer(highest)]


def _without(table: memoryview, places: Sequence[int]) -> memoryview:
    """Return a run without some of its records."""
    starts = [0, *(at + 1 for at in places)]
    ends = [*places, len(table) // _SIZE]
    parts = (table[a * _SIZE : b * _SIZE] for a, b in zip(starts, ends, strict=True))
    return memoryview(b"".join(parts)) if places else table


def _turns(table: memoryview) -> list[memoryview]:
    """Return the parts of a run, of which each but the first begins with ``Mark.ANEW``."""
    anew = [at for at in _marked(table) if at and _mark(table, at) & Mark.ANEW]
    return [table[a * _SIZE : b * _SIZE] for a, b in pairwise([0, *anew, len(table) // _SIZE])]


def _put(column: list[_Item | None], at: int, item: _Item | None) -> None:
    """Set an item of a list that may be too short."""
    if at >= len(column):
        column.extend([None] * (at + 1 - len(column)))
    column[at] = item
