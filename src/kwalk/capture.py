# SPDX-License-Identifier: MIT
"""A capture: probe, transport and decoding put together; it yields events and a ledger."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Iterator

from kwalk.decode.comparison import Comparison, self_check_notes
from kwalk.decode.records import Record, decode
from kwalk.decode.stacks import StackTable
from kwalk.kernel.access import check_access
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.probe.probe import Probe, open_probe
from kwalk.probe.target import find
from kwalk.profile import Event, Ledger, Summary
from kwalk.transport.abi import (
    DIFFERS,
    FALLBACK,
    JUMPED,
    NO_ID,
    OTHER,
    SECOND_MAP,
    TRUNCATED,
    Method,
    Unwinder,
)
from kwalk.transport.counters import Counters, kernel_misses, kernel_release
from kwalk.transport.ring import Ring
from kwalk.transport.stackmaps import StackMaps

_SETTLE_SECONDS = 2.0


class Capture:
    """Trace one function from ``__enter__`` on.

    Call ``read`` every tenth of a second or so, then ``stop``, ``read`` what is left, and
    ``summary``.

    :param function: Name of a kernel function; ``FUNC+0x1f`` for an instruction inside it,
        ``r:FUNC`` for its return.
    :raises KwalkError: if it cannot be traced.
    """

    def __init__(self, function: str, options: ProbeOptions) -> None:
        self.function = function
        self.options = options

    def __enter__(self) -> Capture:
        check_access()
        self.symbols = Kallsyms.read()
        target = find(self.function, self.symbols)
        self.probe: Probe = open_probe(target, self.symbols, self.options)
        try:
            self._connect()
        except BaseException:
            self.probe.obj.close()
            raise
        return self

    def _connect(self) -> None:
        obj = self.probe.obj
        self._ring = Ring(obj.map("events").fd, self.options.ring_bytes)
        kernel_depth = self.probe.kernel_frames
        self._maps = StackMaps(obj, min(self.options.depth, kernel_depth), self.probe.control)
        self._counters = Counters(obj)
        self._table = StackTable(
            self.probe.target.traced,
            self.options.depth,
            insert_caller=self.probe.unwinder == Unwinder.FRAME_POINTER,
            returned=self.probe.attach == "kretprobe",
            kernel_depth=kernel_depth,
        )
        self._comparison = Comparison(self._table, self.options.verify)
        self._ledger = Ledger()
        self._misses: dict[str, int] = {}
        self._skipping = ""
        # Helper: records whose map is still being filled, and records with their stacks.
        self._waiting: list[Record] = []
        self._ready: deque[tuple[Record, bytes | None]] = deque()

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self.probe.obj.close()

    def read(self) -> Iterator[Event]:
        """Yield the events that have arrived since the last call, all of them."""
        if self.probe.method == Method.MANUAL:
            complete = bool(self._misses)  # detached: whatever is there is the last
            for view in self._ring.batch(complete):
                event = self._walked(decode(view))
                if event is not None:
                    yield event
            return
        # After detaching, both maps are read: the one now filled and the one before.
        for _ in range(2 if self._misses else 1):
            for record, raw in self._with_stacks():
                event = self._unwound(record, raw)
                if event is not None:
                    yield event

    def read_both(self) -> Iterator[tuple[Event, Event | None]]:
        """Yield (manual, helper) pairs of the same event; helper is None where it lost the stack.

        For captures with ``Method.BOTH``; the ledger counts the helper's side.
        """
        for record, raw in self._with_stacks():
            manual, helper = self._walked(record, count=False), self._unwound(record, raw)
            if manual is not None:
                yield manual, helper

    def stop(self) -> None:
        """Detach, and wait until no program can still be running."""
        if self._misses:
            return
        self._misses = kernel_misses(self.probe.obj, self.probe.program, self.probe.by_kprobe)
        self.probe.obj.detach()
        # A task can still be inside the trampoline, on its way to the program.
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = None
        while (now := self._counters.read()["hits"]) != before and time.monotonic() < deadline:
            before = now
            self._maps.wait()
        self._misses |= kernel_misses(self.probe.obj, self.probe.program, link=False)

    def skip(self, cause: str) -> None:
        """Read what is left and count it as lost to ``cause`` instead of yielding it."""
        self._skipping = cause
        for _ in self.read():
            pass

    def summary(self) -> Summary:
        """Return what was captured; final after ``stop`` and a last ``read``."""
        counted = self._counters.read()
        ledger = Ledger(
            hits=counted["hits"],
            recorded=self._ledger.recorded,
            lost=dict(self._ledger.lost),
            truncated=self._ledger.truncated,
            fallback=self._ledger.fallback,
        )
        for name, number in counted.items():
            if name.startswith("lost_"):
                ledger.lose(name.removeprefix("lost_"), number)
        for cause, number in self._misses.items():
            ledger.hits += number
            ledger.lose(cause, number)
        if self.probe.by_kprobe and not self.probe.counts_missed:
            ledger.uncounted.append("this kernel does not count the misses of kprobes")
        walked = self.probe.method & Method.MANUAL
        return Summary(
            function=self.probe.target.label,
            method=self.probe.method.name.lower() if self.probe.method.name else "",
            attach=self.probe.attach,
            kernel=kernel_release(),
            ledger=ledger,
            notes=self.probe.notes + ([] if self.options.method else self_check_notes(counted)),
            verify=self._comparison.verify(counted) if walked else None,
        )

    def _walked(self, record: Record, count: bool = True) -> Event | None:
        if record.flags & OTHER:
            self._comparison.other_side(record)
            return None
        if record.flags & FALLBACK:
            stack = self._table.unwound(record.frames, record.caller, self._follows(record))
        else:
            stack = self._table.walked(record.frames, bool(record.flags & TRUNCATED))
        if stack is None:
            if count:
                self._ledger.lose("no_entry_frame", 1)
            return None
        if record.flags & DIFFERS:
            self._comparison.one_side(record, stack)
        if count:
            self._count(stack.truncated, stack.fallback)
        return Event(record.time_ns, record.cpu, record.tgid, record.pid, record.comm, stack)

    @staticmethod
    def _follows(record: Record) -> int:
        return record.caller if record.flags & JUMPED else 0

    def _unwound(self, record: Record, raw: bytes | None) -> Event | None:
        if record.flags & OTHER:
            return None
        if record.flags & NO_ID:
            self._ledger.lose(errno.errorcode.get(-record.stack_id, "other").lower(), 1)
            return None
        follows = self._follows(record)
        stack = None if raw is None else self._table.unwound(raw, follows=follows)
        if stack is None:
            self._ledger.lose("stack_gone" if raw is None else "no_entry_frame", 1)
            return None
        self._count(stack.truncated, False)
        return Event(record.time_ns, record.cpu, record.tgid, record.pid, record.comm, stack)

    def _count(self, truncated: bool, fallback: bool) -> None:
        if self._skipping:
            self._ledger.lose(self._skipping, 1)
            return
        self._ledger.recorded += 1
        self._ledger.truncated += truncated
        self._ledger.fallback += fallback

    def _with_stacks(self) -> Iterator[tuple[Record, bytes | None]]:
        """Yield the records whose stack map can be read by now, each with its helper stack."""
        if not self._ready:
            idle = self._maps.swap()
            records = [*self._waiting, *map(decode, self._ring.batch(complete=True))]
            self._waiting = [r for r in records if bool(r.flags & SECOND_MAP) != bool(idle)]
            stacks: dict[int, bytes | None] = {}
            for record in records:
                if bool(record.flags & SECOND_MAP) == bool(idle):
                    if record.stack_id >= 0 and record.stack_id not in stacks:
                        stacks[record.stack_id] = self._maps.stack(idle, record.stack_id)
                    self._ready.append((record, stacks.get(record.stack_id)))
            self._maps.clear(idle)
        while self._ready:
            yield self._ready.popleft()
