# SPDX-License-Identifier: MIT
"""Reader of a probe: events or counts, decoded, and a ledger.

A part of its own, imported once the probe is attached: calls are counted while Python reads this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from kwalk.abi import NO_ADDRESS, Method, Output, Place
from kwalk.decode.contexts import Contexts
from kwalk.decode.counts import StackCounts, share_out
from kwalk.decode.groups import Groups
from kwalk.decode.records import Calls, Record
from kwalk.decode.short import ShortRecords
from kwalk.decode.stacks import StackTable
from kwalk.decode.unwound import HelperRecords
from kwalk.decode.verify import DifferenceCollector, self_check_notes
from kwalk.decode.walked import WalkedRecords
from kwalk.model.builder import ProfileBuilder
from kwalk.model.event import Batch, Call
from kwalk.model.ledger import Ledger, Summary, TreeUse
from kwalk.model.stack import Count, Stack
from kwalk.model.stack_filter import Shape
from kwalk.options.probe import ProbeOptions
from kwalk.probe.events import is_tracer
from kwalk.probe.load import ring_bytes
from kwalk.probe.probe import Probe, selection_notes
from kwalk.symbolize.symbolizer import Symbolizer
from kwalk.transport.counters import Counters, kernel_release, possible_cpus
from kwalk.transport.ring import Ring
from kwalk.transport.stack_maps import StackMaps

_SETTLE_SECONDS = 2.0
# Share of the counted time; a smaller difference does not change a rate.
_EDGE = 0.01


class CaptureReader:
    """Reads a probe's hits recorded so far; all of them, once it is ``stopped``.

    :param symbolizer: Names the frames, for filters by name.
    """

    def __init__(self, probe: Probe, options: ProbeOptions, symbolizer: Symbolizer) -> None:
        self.probe, self.options, self.symbolizer = probe, options, symbolizer
        brief = options.output == Output.BRIEF
        kernel_depth = probe.config["kernel_frames"]
        table = StackTable(
            NO_ADDRESS if probe.many else probe.selection.targets[0].traced,
            options.depth,
            insert_caller=probe.kernel_lacks_caller,
            returned=probe.by_kprobe and probe.selection.place == Place.RETURN,
            kernel_depth=kernel_depth,
            is_tracer=self._tracer(),
        )
        groups = self._groups = Groups(options.per)
        contexts = Contexts(probe.tree, table, groups)
        self._shape = self._make_shape()
        self._comparison = DifferenceCollector(contexts, options.verify)
        self._counters = Counters(probe.obj)
        if probe.nested:
            probe.nested.follow(self._counters.add)
        if probe.beside:
            self._counters.add(probe.beside.obj)
        self._maps = StackMaps(probe.obj, min(options.depth, kernel_depth), probe.control)
        self._counts = StackCounts(probe, contexts, table, self._maps, groups)
        self._ring = Ring(probe.obj.map("events").fd, ring_bytes(options))
        self._calls = Calls()
        self._walked = WalkedRecords(contexts, self._comparison, self._calls)
        self._short = ShortRecords(contexts, self._comparison, self._calls, possible_cpus())
        self._helper = HelperRecords(
            *(self._ring, self._maps, table, contexts, brief),
            endless=probe.method == Method.HELPER,
        )
        self._ledger = Ledger()
        self._manual = Ledger()
        self._misses: dict[str, int] = {}
        self._ended: float | None = None  # when detaching began, and how long it took
        self._detaching = 0.0
        self._unnamed: set[Stack] = set()

    def _make_shape(self) -> Shape | None:
        through, until = self.options.through, self.options.until
        if not through and not until:
            return None
        frames = self.symbolizer.frames
        also = self.symbolizer.also
        return Shape(lambda stack: [frame.name for frame in frames(stack)], through, until, also)

    def _tracer(self) -> Callable[[int], bool] | None:
        if not self.probe.selection.place.is_event:
            return None
        symbolizer = self.symbolizer

        def judge(address: int) -> bool:
            frame = symbolizer.frame(address)
            # Programs that are gone have no name.
            return is_tracer(frame.name, frame.module) or not frame.name

        # A sample's stack begins at the interrupted code: no tracer's frames are in front.
        return judge if self.probe.selection.place == Place.TRACEPOINT else lambda address: False

    @property
    def stopped(self) -> bool:
        """Whether the probe is detached."""
        return bool(self._misses)

    @property
    def hits(self) -> int:
        """Hits, those included that the kernel missed."""
        return self.probe.hits() + sum(self._misses.values())

    def stop(self) -> None:
        """Detach, and wait until no program can still be running."""
        probe = self.probe
        self._misses = probe.misses(links=True)
        self._ended = time.monotonic()
        probe.detach()
        self._detaching = time.monotonic() - self._ended
        # A task can still be inside the trampoline, on its way to the program.
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = None
        while (now := probe.hits()) != before and time.monotonic() < deadline:
            before = now
            self._maps.wait()
        self._misses |= probe.misses(links=False)
        if probe.nested:
            self._misses["recursion"] = probe.nested.lost(self._misses["recursion"])
        self.symbolizer.look_again()

    @property
    def seconds(self) -> float:
        """How long hits were counted: from when the probe was attached until it was detached."""
        return (self._ended or time.monotonic()) - self.probe.attached

    def look(self) -> None:
        """Learn now what could not be learned in the end."""
        self._groups.look()

    def close(self) -> None:
        """Unmap the ring."""
        self._ring.close()

    def counts(self) -> Sequence[Count]:
        """Return how often each stack was met so far, the rarest first (``Output.COUNT``)."""
        counts, lost = self._counts.read()
        self._ledger = Ledger(lost=lost)
        for count in counts:
            self._ledger.record(count.stack, count.count)
        shaped = self._shaped_counts(self._scaled(counts))
        for count in shaped:
            self._name(count.stack)
        return shaped

    def _name(self, stack: Stack) -> None:
        if stack.frames and stack not in self._unnamed:
            return
        stack.frames = tuple(self.symbolizer.frames(stack))
        self._unnamed.discard(stack)
        if stack.codes and not all(frame.name for frame in stack.frames):
            self._unnamed.add(stack)  # a later look may know the code

    def _shaped_counts(self, counts: Sequence[Count]) -> Sequence[Count]:
        if not self._shape:
            return counts
        shaped = self._shape.counts(counts)
        for count, seen in zip(counts, shaped, strict=True):
            if not seen:
                self._ledger.record(count.stack, -count.count)
                self._ledger.lose("other_callers", count.count)
        builder = ProfileBuilder()
        builder.add(shaped)
        return builder.build()[0]

    def _scaled(self, counts: Sequence[Count]) -> Sequence[Count]:
        tree = self.probe.tree
        out = tree.sampled_out()
        # Where calls were lost after they had been taken, nobody knows for how many they stood.
        if out and self._ledger.recorded + out == tree.hits():
            return share_out(out, counts)
        return counts

    def make_texts(self, render: Callable[[Call], bytes]) -> None:
        """Have texts made with the events (``Batch.texts``), where that saves a look-up.

        :param render: Makes the text of a call, which is the same each time.
        """
        if not self._shape:
            self._short.render = render

    def batches(self) -> Iterator[Batch]:
        """Yield the events that have arrived since the last call, all of them."""
        for batch in self._batches():
            if not self._shape:
                yield batch
                continue
            seen, unseen = self._shape.batch(batch)
            self.drop(unseen, "other_callers")
            yield seen

    def _batches(self) -> Iterator[Batch]:
        if self.probe.method != Method.MANUAL:
            yield from self._from_helper()
            return
        brief = self.options.output == Output.BRIEF
        records: WalkedRecords | ShortRecords = self._walked if brief else self._short
        # Detached: whatever is there is the last.
        for table in self._ring.batch(records.size, complete=self.stopped):
            yield records.batch(table, self._ledger)

    def _from_helper(self) -> Iterator[Batch]:
        brief = self.options.output == Output.BRIEF
        # After detaching, both maps are read: the one now filled and the one before.
        for _ in range(2 if self.stopped else 1):
            yield self._calls.batch(self._helper, self._ledger, brief)

    def pairs(self) -> Iterator[tuple[Record, Stack | None, Stack | None, str]]:
        """Yield each event's record, manual's stack, the helper's, and the cause if that is lost.

        For captures with ``Method.BOTH``; see ``ledgers``. Events of which nothing is to be seen
        (``ProbeOptions.through``) are left out, and counted on both sides.
        """
        for record, stack, cause in self._helper:
            walked = self._walked.stack(record)
            if self._shape:
                shaped = self._shape.pair(walked, stack)
                if shaped is None:
                    self._ledger.lose("other_callers", 1)
                    self._manual.lose("other_callers", 1)
                    continue
                walked, stack = shaped
            for ledger, found, lost in (
                (self._ledger, stack, cause),
                (self._manual, walked, "no_entry_frame"),
            ):
                if found:
                    ledger.record(found, 1)
                else:
                    ledger.lose(lost, 1)
            yield record, walked, stack, cause

    def ledgers(self) -> tuple[Ledger, Ledger]:
        """Return manual's and the helper's (``Method.BOTH``); final when ``summary`` is."""
        return self._whole(self._manual), self._whole(self._ledger)

    def drop(self, batch: Batch, cause: str) -> None:
        """Count events that were yielded, but not used, as lost to ``cause``."""
        for call in batch.calls:
            self._ledger.record(call.stack, -1)
        self._ledger.lose(cause, len(batch))

    def taken_ns(self) -> int:
        """Return the time spent on the events that were taken, in ns (``ProbeOptions.chance``)."""
        return self._counters.read()["taken_ns"]

    def summary(self) -> Summary:
        """Return the summary; final after ``stop`` and a last look at events or counts."""
        probe, counted = self.probe, self._counters.read()
        walked = probe.method & Method.MANUAL
        return Summary(
            function=probe.selection.label,
            method=probe.method.name.lower() if probe.method.name else "",
            attach=probe.attach,
            kernel=kernel_release(),
            unit=probe.selection.unit,
            ledger=self._whole(self._ledger),
            notes=[
                *probe.notes,
                *selection_notes(probe),
                *self.symbolizer.moved,
                *([] if self.options.method else self_check_notes(counted)),
                *self._edge_notes(),
            ],
            verify=self._comparison.verify(counted) if walked else None,
            tree=self._tree_use(counted["pool_full"]) if walked else None,
            seconds=self.seconds,
        )

    def _edge_notes(self) -> list[str]:
        """Say how long a kprobe for each of many took to come and go: some counted meanwhile."""
        probe = self.probe
        edges = [probe.attached - probe.began, self._detaching]
        each = probe.many and probe.attach in ("kprobe", "kretprobe")
        if not each or sum(edges) < _EDGE * self.seconds:
            return []
        text = f"attaching took {edges[0]:.1f} s more"
        text += f" and detaching {edges[1]:.1f} s" if self._ended else ""
        return [f"{text}, in which a part of the functions was counted as well"]

    def _whole(self, read: Ledger) -> Ledger:
        """Return the ledger: hits read so far, and losses that the kernel counted."""
        probe = self.probe
        counted = self._counters.read()
        ledger = read.copy()
        ledger.hits, ledger.uncounted = probe.hits(), []
        for name, number in counted.items():
            if name.startswith("lost_"):
                ledger.lose(name.removeprefix("lost_"), number)
        ledger.lose("sampled_out", probe.tree.sampled_out())
        ledger.lose("filtered", probe.filtered())
        for cause, number in self._misses.items():
            ledger.hits += number
            ledger.lose(cause, number)
        nested = probe.nested.uncounted() if probe.nested else ""
        ledger.uncounted += [text for text in (probe.uncounted(), nested) if text]
        return ledger

    def _tree_use(self, full: int) -> TreeUse:
        # CPUs that ask for the last node at once all count as users of one.
        size = self.options.nodes
        return TreeUse(min(self.probe.tree.used, size), size, full)
