# SPDX-License-Identifier: MIT
"""A capture: attach, look at what has come, detach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kwalk.abi import Method, Per, Place, Unwinder
from kwalk.errors import UsageError
from kwalk.kernel import kallsyms_cache
from kwalk.kernel.capabilities import check_access
from kwalk.kernel.features import check_kernel
from kwalk.libbpf import stats
from kwalk.options.probe import ProbeOptions
from kwalk.probe import no_hits, translate
from kwalk.probe.attach import Watch, nobody
from kwalk.probe.events import choose
from kwalk.probe.probe import Probe, open_probe

if TYPE_CHECKING:  # what reads and decodes is not needed before there is something to be read
    from kwalk.decode.records import Record
    from kwalk.model.event import Batch, Event
    from kwalk.model.ledger import Ledger, Summary
    from kwalk.model.stack import Count, Frame, Stack
    from kwalk.symbolize.symbolizer import Symbolizer


class Capture:
    """Trace one function, or many, from ``__enter__`` on.

    With ``Output.COUNT``, ask for ``counts`` at any time. Otherwise call ``batches`` or ``read``
    every tenth of a second or so. In the end ``stop``, ask for what is left, then for ``summary``.

    :param functions: What to trace, each as ``probe.selection.select`` takes it.
    :param watch: Told of progress while many functions are attached to.
    :raises KwalkError: if it cannot be traced.
    """

    def __init__(
        self, functions: str | Sequence[str], options: ProbeOptions, watch: Watch = nobody
    ) -> None:
        self.functions = [functions] if isinstance(functions, str) else list(functions)
        self.options = options
        self._watch = watch
        self._after = no_hits.Found()
        self._told_full = False

    def __enter__(self) -> Capture:
        check_access()
        self.symbols = kallsyms_cache.read()
        check_kernel(self.symbols)
        selection = choose(self.functions, self.options.frequency, self.symbols)
        others = any(stats.ids())
        options = translate.translate(self.options)
        self.probe: Probe = open_probe(selection, self.symbols, options, self._watch)
        try:
            from kwalk.engine.reader import CaptureReader
            from kwalk.probe.changes import Changes

            self._modules = no_hits.modules(self.probe.selection)
            kallsyms_cache.keep(self.symbols)
            if others:  # programs, which can be gone when a stack is shown
                self.symbols.renew()
            self._reading = CaptureReader(self.probe, self.options, self.symbolizer)
            self._changes = Changes(self.probe, self.options.filters, options.filters)
            self.probe.notes.extend(self._changes.at_start())
        except BaseException:
            self.probe.close()
            raise
        return self

    @property
    def started(self) -> float:
        """When the probe was attached: seconds of CLOCK_MONOTONIC."""
        return self.probe.attached

    @property
    def seconds(self) -> float:
        """How long hits have been counted, until the probe was detached."""
        return self._reading.seconds

    @property
    def unit(self) -> str:
        """What is counted: calls, or samples, or what happens at a tracepoint."""
        return self.probe.selection.unit

    @cached_property
    def symbolizer(self) -> Symbolizer:
        """What names the frames of this capture's stacks."""
        from kwalk.symbolize.symbolizer import Symbolizer

        called = self.probe.selection.place == Place.TRACEPOINT
        return Symbolizer(self.symbols, called, kallsyms_cache.fresh, self._entries())

    def _entries(self) -> dict[int, Frame]:
        """Return the frames of what is traced: of several names of one function that asked for."""
        from kwalk.model.stack import Frame

        targets = [] if self.probe.selection.place.is_event else self.probe.selection.targets
        return {t.traced: Frame(t.name, t.offset, t.module, t.traced) for t in targets}

    def __exit__(self, *_: object) -> None:
        self._reading.close()
        self.probe.close()

    @property
    def stopped(self) -> bool:
        """Whether the probe is detached."""
        return self._reading.stopped

    @property
    def readable(self) -> bool:
        """Whether counts can be read now without harm.

        To look up one of the helper's stacks can drop another (kernel/bpf/stackmap.c).
        """
        return self.stopped or self.probe.method != Method.HELPER

    def check_readable(self) -> None:
        """Do nothing where counts can be read.

        :raises UsageError: where they are not ``readable`` before ``stop``.
        """
        if not self.readable:
            raise UsageError(
                "the helper's stacks cannot be read while it counts",
                "To look one up can drop another. Count by the manual method, or read them in the "
                "end: kwalk count without --interval, or stop() in Python.",
            )

    def facts(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what a recording says of the machine.

        :param words: What it was made by.
        """
        from kwalk.recording.facts import facts

        return facts(words, self.unwinder, self.symbols.address("_text"))

    @property
    def unwinder(self) -> str:
        """The kernel's own, such as ``frame pointer``."""
        return Unwinder(self.probe.unwinder).name.lower().replace("_", " ")

    def sample(self, chance: float) -> None:
        """Take events with this chance from now on (``ProbeOptions.chance``)."""
        self.probe.tree.sample(chance)

    @property
    def scale(self) -> float:
        """Calls for each one that was taken."""
        tree = self.probe.tree
        wanted, out = tree.hits(), tree.sampled_out()
        return wanted / (wanted - out) if wanted > out else 1.0

    def seen(self) -> tuple[int, int, int]:
        """Return hits so far, those that were left alone, and the ns spent on the others."""
        left_alone = self.probe.tree.sampled_out() + self.probe.filtered()
        return self.probe.hits(), left_alone, self._reading.taken_ns()

    def stop(self) -> None:
        """Detach, wait until no program can still be running, and see whether it could run."""
        if not self.stopped:
            self._look(last=True)
            self._reading.stop()
            self._after = no_hits.look(self.probe, self.symbols, self._modules, self._reading.hits)

    @property
    def changeable(self) -> bool:
        """Whether ``look`` has something to look at."""
        return self._changes.any or self.options.per == Per.CGROUP

    def look(self) -> None:
        """Follow what has changed around the probe; to be called once a second or more often."""
        if not self._reading.stopped:
            self._look()

    def _look(self, last: bool = False) -> None:
        if self._changes.look(last):
            self._reading.look()

    def news(self) -> list[str]:
        """Return what has gone wrong since the last call and can be mended by starting anew."""
        size = self.options.nodes
        if self._told_full or not self.probe.method & Method.MANUAL:
            return []
        self._told_full = self.probe.tree.used >= size
        if not self._told_full:
            return []
        return [
            f"the tree is full ({size:,} nodes): new stacks are cut short from now on; a larger "
            "--nodes helps"
        ]

    def counts(self) -> list[Count]:
        """Return how often each stack was met so far, the rarest first (``Output.COUNT``)."""
        return self._reading.counts()

    def batches(self) -> Iterator[Batch]:
        """Yield the events that have arrived since the last call, all of them."""
        return self._reading.batches()

    def read(self) -> Iterator[Event]:
        """Yield the events that have arrived since the last call, one by one."""
        for batch in self.batches():
            yield from batch.events()

    def pairs(self) -> Iterator[tuple[Record, Stack | None, Stack | None, str]]:
        """Yield each event's record, manual's stack, the helper's, and the cause if that is lost.

        For captures with ``Method.BOTH``; see ``ledgers``. Events of which nothing is to be seen
        (``ProbeOptions.through``) are left out, and counted on both sides.
        """
        return self._reading.pairs()

    def ledgers(self) -> tuple[Ledger, Ledger]:
        """Return manual's and the helper's (``Method.BOTH``); final when ``summary`` is."""
        return self._reading.ledgers()

    def drop(self, batch: Batch, cause: str) -> None:
        """Count events that were yielded, but not used, as lost to ``cause``."""
        self._reading.drop(batch, cause)

    def summary(self) -> Summary:
        """Return what was captured; final after ``stop`` and a last look at events or counts."""
        summary = self._reading.summary()
        summary.ledger.uncounted += self._changes.unseen()
        summary.notes += self._changes.notes()
        summary.unseen = self._after.unseen
        summary.notes += self._after.notes
        return summary
