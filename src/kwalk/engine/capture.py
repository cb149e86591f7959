# SPDX-License-Identifier: MIT
"""A capture: a probe with its reader, from attach to detach."""

from __future__ import annotations

import math
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
from kwalk.probe.attach_multi import Watch, nobody
from kwalk.probe.events import choose
from kwalk.probe.open import open_probe
from kwalk.probe.probe import Probe

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.decode.records import Record
    from kwalk.hot.maker import HotPrograms
    from kwalk.model.event import Event
    from kwalk.model.ledger import Ledger, Summary
    from kwalk.model.stack import Count, Frame, Stack
    from kwalk.symbolize.symbolizer import Symbolizer


class Capture:
    """Traces one or many functions from ``__enter__`` on.

    With ``Output.COUNT``, read ``counts`` at any time. With other outputs call ``reader.batches``
    or ``read`` about every tenth of a second. In the end call ``stop``, read the rest, then
    ``summary``.

    :param functions: Targets, as ``probe.selection.select`` takes them.
    :param watch: Called with the progress of attaching to many functions.
    :ivar reader: Reads the probe; set once attached.
    :raises KwalkError: if they cannot be traced.
    """

    def __init__(
        self, functions: str | Sequence[str], options: ProbeOptions, watch: Watch = nobody
    ) -> None:
        self.functions = [functions] if isinstance(functions, str) else list(functions)
        self.options = options
        self._watch = watch
        self._after = no_hits.Found()
        self._hot: HotPrograms | None = None
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
            if others:  # other BPF programs, which may be gone when a stack is shown
                self.symbols.renew()
            self.reader = CaptureReader(self.probe, self.options, self.symbolizer)
            if self.probe.loaded.hot:
                from kwalk.hot.maker import HotPrograms

                self._hot = HotPrograms(self.probe, self.symbols)
            self._changes = Changes(self.probe, self.options.filters, options.filters)
            self.probe.notes.extend(self._changes.at_start())
        except BaseException:
            self.probe.close()
            raise
        return self

    @property
    def started(self) -> float:
        """Time of attaching (CLOCK_MONOTONIC, seconds)."""
        return self.probe.attached

    @property
    def seconds(self) -> float:
        """Seconds from attach to detach, or until now."""
        return self.reader.seconds

    @property
    def unit(self) -> str:
        """Unit of hits: ``calls``, ``samples`` or ``events``."""
        return self.probe.selection.unit

    @cached_property
    def symbolizer(self) -> Symbolizer:
        """Symbolizer of this capture's stacks."""
        from kwalk.symbolize.symbolizer import Symbolizer

        called = self.probe.selection.place == Place.TRACEPOINT
        return Symbolizer(self.symbols, called, kallsyms_cache.fresh, self._entries())

    def _entries(self) -> dict[int, Frame]:
        """Return the frame of each target by address, under the name that the user gave."""
        from kwalk.model.stack import Frame

        targets = [] if self.probe.selection.place.is_event else self.probe.selection.targets
        return {t.traced: Frame(t.name, t.offset, t.module, t.traced) for t in targets}

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        if self._hot:
            self._hot.close()
        self.probe.close()

    @property
    def stopped(self) -> bool:
        """Whether the probe is detached."""
        return self.reader.stopped

    @property
    def readable(self) -> bool:
        """Whether ``counts`` loses no stack now.

        A lookup in a BPF stack map can drop another stack (kernel/bpf/stackmap.c).
        """
        return self.stopped or self.probe.method != Method.HELPER

    def check_readable(self) -> None:
        """Check that counts are ``readable`` before ``stop``.

        :raises UsageError: if not.
        """
        if not self.readable:
            raise UsageError(
                "the helper's stacks cannot be read while it counts",
                "To look one up can drop another. Count by the manual method, or read them in the "
                "end: kwalk count without --interval, or stop() in Python.",
            )

    def facts(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the metadata of a recording: machine, kernel, command line.

        :param words: Command line.
        """
        from kwalk.recording.facts import facts

        return facts(words, self.unwinder, self.symbols.address("_text"))

    @property
    def unwinder(self) -> str:
        """Unwinder of the kernel, such as ``frame pointer``."""
        return Unwinder(self.probe.unwinder).name.lower().replace("_", " ")

    def sample(self, chance: float) -> None:
        """Set the sampling probability (``ProbeOptions.chance``)."""
        self.probe.tree.sample(chance)

    @property
    def scale(self) -> float:
        """Hits per sampled hit."""
        tree = self.probe.tree
        wanted, out = tree.hits(), tree.sampled_out()
        return wanted / (wanted - out) if wanted > out else 1.0

    def seen(self) -> tuple[int, int, int]:
        """Return hits, filtered and skipped hits, and nanoseconds spent on the others."""
        left_alone = self.probe.tree.sampled_out() + self.probe.filtered()
        return self.probe.hits(), left_alone, self.reader.taken_ns()

    def stop(self) -> None:
        """Detach and wait for running programs; diagnose if no hit came."""
        if not self.stopped:
            self._look(last=True)
            self.reader.stop()
            self._after = no_hits.look(self.probe, self.symbols, self._modules, self.reader.hits)

    @property
    def changeable(self) -> bool:
        """Whether ``look`` has anything to follow."""
        follows = self._changes.any or self.options.per == Per.CGROUP
        return follows or bool(self._hot) or bool(self.probe.nested)

    @property
    def due(self) -> float:
        """Time of the next ``look``, if it is to come early (CLOCK_MONOTONIC, seconds)."""
        followers = (self._hot, self.probe.nested)
        return min((one.due for one in followers if one), default=math.inf)

    def look(self) -> None:
        """Follow what comes and goes; call it once a second, and when it is ``due``.

        That is CPUs, tasks, cgroups and namespaces, the stacks that are seen most, and hits that
        are nested.
        """
        if not self.reader.stopped:
            self._look()
            if self._hot:
                self._hot.look()
            if self.probe.nested:
                self.probe.nested.look()

    def _look(self, last: bool = False) -> None:
        if self._changes.look(last):
            self.reader.look()

    def news(self) -> list[str]:
        """Return new problems that another start with other options would avoid."""
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

    def counts(self) -> Sequence[Count]:
        """Return the count of each stack so far, in ascending order (``Output.COUNT``)."""
        return self.reader.counts()

    def read(self) -> Iterator[Event]:
        """Yield the events since the last call."""
        for batch in self.reader.batches():
            yield from batch.events()

    def pairs(self) -> Iterator[tuple[Record, Stack | None, Stack | None, str]]:
        """Yield each event's record, its stacks by manual and helper, and the helper's loss cause.

        For captures with ``Method.BOTH``; see ``ledgers``. Events that ``ProbeOptions.through``
        rejects are counted in both ledgers, and not yielded.
        """
        return self.reader.pairs()

    def ledgers(self) -> tuple[Ledger, Ledger]:
        """Return the ledgers of manual and helper (``Method.BOTH``); final when ``summary`` is."""
        return self.reader.ledgers()

    def summary(self) -> Summary:
        """Return the summary; final after ``stop`` and a last read of events or counts."""
        summary = self.reader.summary()
        summary.ledger.uncounted += self._changes.unseen()
        summary.notes += self._changes.notes()
        summary.unseen = self._after.unseen
        summary.notes += self._after.notes
        summary.hot = self._hot.use() if self._hot else None
        summary.nested = self.probe.nested.use() if self.probe.nested else None
        return summary
