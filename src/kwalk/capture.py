# SPDX-License-Identifier: MIT
"""A capture: probe, transport and decoding put together; events or counts, and a ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kwalk.decode.calls import Calls
from kwalk.decode.comparison import Comparison, self_check_notes
from kwalk.decode.contexts import Contexts
from kwalk.decode.counts import StackCounts, share_out
from kwalk.decode.records import batch_of_rows
from kwalk.decode.stacks import StackTable
from kwalk.decode.unwound import HelperRecords
from kwalk.decode.walked import WalkedRecords
from kwalk.kernel.access import check_access
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.probe.probe import Probe, open_probe, ring_bytes
from kwalk.probe.target import find
from kwalk.profile import Batch, Count, Event, Ledger, Summary, TreeUse
from kwalk.transport.abi import Method, Output, Unwinder
from kwalk.transport.counters import Counters, kernel_misses, kernel_release
from kwalk.transport.ring import Ring
from kwalk.transport.stackmaps import StackMaps

_SETTLE_SECONDS = 2.0


class Capture:
    """Trace one function from ``__enter__`` on.

    With ``Output.COUNT``, ask for ``counts`` at any time. Otherwise call ``batches`` or ``read``
    every tenth of a second or so. In the end ``stop``, ask for what is left, then for ``summary``.

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
            self.probe.close()
            raise
        return self

    def _connect(self) -> None:
        probe, options = self.probe, self.options
        brief = options.output == Output.BRIEF
        kernel_depth = probe.config["kernel_frames"]
        table = StackTable(
            probe.target.traced,
            options.depth,
            insert_caller=probe.unwinder == Unwinder.FRAME_POINTER,
            returned=probe.attach == "kretprobe",
            kernel_depth=kernel_depth,
        )
        contexts = Contexts(probe.tree, table)
        self._comparison = Comparison(contexts, options.verify)
        self._counters = Counters(probe.obj)
        self._maps = StackMaps(probe.obj, min(options.depth, kernel_depth), probe.control)
        self._counts = StackCounts(probe, contexts, table, self._maps)
        self._ring = Ring(probe.obj.map("events").fd, ring_bytes(options))
        self._calls = Calls()
        self._walked = WalkedRecords(contexts, self._comparison, self._calls, brief)
        self._helper = HelperRecords(self._ring, self._maps, table, contexts, brief)
        self._ledger = Ledger()
        self._misses: dict[str, int] = {}

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self.probe.close()

    @property
    def _stopped(self) -> bool:
        return bool(self._misses)

    def counts(self) -> list[Count]:
        """Return how often each stack was met so far, the rarest first (``Output.COUNT``)."""
        counts, lost = self._counts.read()
        self._ledger = Ledger(lost=lost)
        for count in counts:
            self._ledger.record(count.stack, count.count)
        out = self.probe.tree.sampled_out()
        # Where calls were lost after they had been taken, nobody knows for how many they stood.
        if out and self._ledger.recorded + out == self.probe.tree.hits():
            return share_out(out, counts)
        return counts

    def batches(self) -> Iterator[Batch]:
        """Yield the events that have arrived since the last call, all of them."""
        if self.probe.method != Method.MANUAL:
            yield from self._from_helper()
            return
        # Detached: whatever is there is the last.
        for table in self._ring.batch(self._walked.size, complete=self._stopped):
            yield self._walked.batch(table, self._ledger)

    def read(self) -> Iterator[Event]:
        """Yield the events that have arrived since the last call, one by one."""
        for batch in self.batches():
            yield from batch.events()

    def _from_helper(self) -> Iterator[Batch]:
        brief = self.options.output == Output.BRIEF
        # After detaching, both maps are read: the one now filled and the one before.
        for _ in range(2 if self._stopped else 1):
            calls = []
            kept = []
            for record, stack, cause in self._helper:
                if stack is None:
                    self._ledger.lose(cause, 1)
                    continue
                self._ledger.record(stack, 1)
                calls.append(self._calls.call(stack, None if brief else record.who()))
                kept.append(record)
            yield batch_of_rows(kept, calls, brief)

    def read_both(self) -> Iterator[tuple[Event, Event | None]]:
        """Yield (manual, helper) pairs of the same event; helper is None where it lost the stack.

        For captures with ``Method.BOTH``; the ledger counts the helper's side.
        """
        for record, stack, cause in self._helper:
            walked = self._walked.stack(record)
            if stack is None:
                self._ledger.lose(cause, 1)
            else:
                self._ledger.record(stack, 1)
            if walked:
                manual = Event(record.time_ns, record.who(), walked)
                helper = Event(record.time_ns, record.who(), stack) if stack else None
                yield manual, helper

    def drop(self, batch: Batch, cause: str) -> None:
        """Count events that were yielded, but not used, as lost to ``cause``."""
        for call in batch.calls:
            self._ledger.record(call.stack, -1)
        self._ledger.lose(cause, len(batch))

    def sample(self, chance: float) -> None:
        """Take events with this chance from now on (``ProbeOptions.sampled``)."""
        self.probe.tree.sample(chance)

    @property
    def scale(self) -> float:
        """Calls for each one that was taken."""
        hits, out = self.probe.tree.hits(), self.probe.tree.sampled_out()
        return hits / (hits - out) if hits > out else 1.0

    def seen(self) -> tuple[int, int, int]:
        """Return hits so far, those that were sampled out, and the ns spent on the others."""
        tree = self.probe.tree
        return tree.hits(), tree.sampled_out(), self._counters.read()["taken_ns"]

    def stop(self) -> None:
        """Detach, and wait until no program can still be running."""
        if self._stopped:
            return
        probe = self.probe
        self._misses = kernel_misses(probe.obj, probe.program, probe.by_kprobe)
        probe.obj.detach()
        # A task can still be inside the trampoline, on its way to the program.
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = None
        while (now := probe.tree.hits()) != before and time.monotonic() < deadline:
            before = now
            self._maps.wait()
        self._misses |= kernel_misses(probe.obj, probe.program, link=False)

    def summary(self) -> Summary:
        """Return what was captured; final after ``stop`` and a last look at events or counts."""
        probe, counted = self.probe, self._counters.read()
        ledger = Ledger(
            hits=probe.tree.hits(),
            recorded=self._ledger.recorded,
            lost=dict(self._ledger.lost),
            truncated=self._ledger.truncated,
            fallback=self._ledger.fallback,
        )
        for name, number in counted.items():
            if name.startswith("lost_"):
                ledger.lose(name.removeprefix("lost_"), number)
        ledger.lose("sampled_out", probe.tree.sampled_out())
        for cause, number in self._misses.items():
            ledger.hits += number
            ledger.lose(cause, number)
        if probe.by_kprobe and not probe.counts_missed:
            ledger.uncounted.append("this kernel does not count the misses of kprobes")
        walked = probe.method & Method.MANUAL
        return Summary(
            function=probe.target.label,
            method=probe.method.name.lower() if probe.method.name else "",
            attach=probe.attach,
            kernel=kernel_release(),
            ledger=ledger,
            notes=probe.notes + ([] if self.options.method else self_check_notes(counted)),
            verify=self._comparison.verify(counted) if walked else None,
            tree=self._tree_use(counted["pool_full"]) if walked else None,
        )

    def _tree_use(self, full: int) -> TreeUse:
        # CPUs that ask for the last node at once all count as users of one.
        size = self.options.nodes
        return TreeUse(min(self.probe.tree.used, size), size, full)
