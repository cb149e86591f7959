# SPDX-License-Identifier: MIT
"""When programs for hot stacks are made, loaded, replaced and given up."""

from __future__ import annotations

import math
import mmap
import os
import struct
import time

from kwalk.abi import HOT_ENTRY, HOT_LEAVES, HOT_PROGRAM
from kwalk.arch.hot_frame import HotStart, Unsupported
from kwalk.errors import KwalkError
from kwalk.hot import kernel, program
from kwalk.hot import paths as hot_paths
from kwalk.hot.entry_counters import EntryCounters, Seen
from kwalk.hot.paths import Key, Path, PathReader
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import program as programs
from kwalk.libbpf.map import store
from kwalk.model.ledger import HotUse
from kwalk.probe.attach import TRAMPOLINES
from kwalk.probe.hot_entry import LEAF_BYTES, leaf_at, leaves_bytes
from kwalk.probe.probe import Probe
from kwalk.transport.counters import possible_cpus

FIRST_SECONDS = (0.1, 1.0)
"""Seconds from attaching to the first programs; later ones follow changes."""
NEXT_SECONDS = 1.0
MISSES = 0.05
"""Share of a second's hits that must have missed for the next program."""
FEW = 10
"""Hits of a second that tell nothing about its stacks, or fewer."""
IN_VAIN = 0.5
"""Share of misses from which on programs cost more than they save."""
MOST_VAIN = 2
"""Programs that may be in vain one after the other; then there are none for a while."""
VAIN_SECONDS = 60.0
_REST = 20  # at least this many times the time that the last program took to make
_FENTRY = 24  # enum bpf_attach_type: BPF_TRACE_FENTRY
_NAME = "kw_hot"


class HotPrograms:
    """Makes programs for a probe's hot stacks while it is attached.

    :param probe: Attached with an entry program for this (``Loaded.hot``).
    :ivar due: When to ``look`` next, in seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, probe: Probe, symbols: Kallsyms) -> None:
        self._probe = probe
        self._obj = probe.obj
        self._cpus = possible_cpus()
        self._paths = PathReader(probe.tree, self._cpus)
        self._numbers: dict[Key, int] = {}
        self._refused: set[Key] = set()
        self._entry = EntryCounters(probe, self._cpus)
        self._made: set[Key] = set()
        self._made_of: HotStart | None = None
        self._programs = 0
        self._in = False
        self._vain = 0
        self._waits = list(FIRST_SECONDS)
        self._why = ""
        self._before = Seen(0, 0, 0)
        config, facts = probe.config, probe.loaded.facts
        self._maps = program.Maps(
            self._obj.map("tree").fd,
            self._obj.map("leaves").fd,
            self._obj.map("hot").fd,
            config["node_mask"],
            self._cpus,
        )
        self._kernel = kernel.of_probe(probe, symbols)
        self._leaves = mmap.mmap(self._maps.leaves, leaves_bytes(self._cpus))
        self.due = probe.attached + self._waits.pop(0)
        if config["typed_loads"] and not facts.window:
            self._why = "this kernel's BTF has no type that is as large as a stack"
            self.stop()

    def close(self) -> None:
        """Free the memory; the programs go with the probe's maps."""
        self._leaves.close()

    def use(self) -> HotUse:
        """Return what the programs did so far."""
        seen = self._entry.seen()
        taken = seen.hits - seen.missed - seen.unassisted
        return HotUse(taken, seen.missed, self._programs, self._why)

    def stop(self) -> None:
        """Make no more programs."""
        self.due = math.inf

    def look(self, now: bool = False) -> None:
        """Make a program, if it is time (or ``now``) and the stacks have changed."""
        began = time.monotonic()
        if began < self.due and not now:
            return
        try:
            self._look()
        except (KwalkError, OSError, OverflowError, struct.error) as error:
            self._why = getattr(error, "what", "") or f"{type(error).__name__}: {error}"
            self._give_up()
            return
        if math.isinf(self.due):  # given up
            return
        took = time.monotonic() - began
        wait = NEXT_SECONDS
        if not self._before.hits:
            wait = FIRST_SECONDS[0]
        elif self._waits:
            wait = self._waits.pop(0)
        self.due = began + max(wait, _REST * took)

    def _give_up(self) -> None:
        self._clear()
        self.stop()

    def _clear(self) -> None:
        if self._in:
            programs.clear(self._obj.map("hot"), HOT_PROGRAM)
            self._in = False

    def _look(self) -> None:
        seen = self._entry.seen()
        hits, missed, _ = (now - then for now, then in zip(seen, self._before, strict=True))
        self._before = seen
        if self._in and missed <= MISSES * hits:
            self._vain = 0
            return
        if not hits:
            return
        if self._in and missed > IN_VAIN * max(hits, FEW):
            self._vain += 1
            if self._vain > MOST_VAIN:  # stacks change faster than programs
                self._rest("most hits had other stacks than those before")
                return
        else:
            self._vain = 0
        found = [path for path in self._paths.read() if path.key not in self._refused]
        self._fill(found)
        chosen = hot_paths.hottest(found, self._paths.total)
        start = self._entry.start()
        if self._is_worthwhile(chosen) and start:
            self._make(chosen, start)

    def _is_worthwhile(self, chosen: list[Path]) -> bool:
        """Return whether these stacks make enough of the hits; if not, rest."""
        enough = sum(path.hits for path in chosen) >= (1 - IN_VAIN) * self._paths.total
        if not enough:
            self._rest("most hits have stacks that no program can follow")
        return enough

    def _rest(self, why: str) -> None:
        """Do without programs for a while."""
        self._clear()
        self._vain, self._waits, self._why = 0, [VAIN_SECONDS], why

    def _make(self, chosen: list[Path], start: HotStart) -> None:
        self._fill(chosen, new=True)
        chosen = [path for path in chosen if path.key in self._numbers]
        if self._is_made(chosen, start):
            return
        try:
            code = self._generate(chosen, start)
        except Unsupported as why:
            chosen = self._together(chosen, start)
            if not chosen:
                self._rest(f"no program can follow these stacks: {why}")
                return
            code = self._generate(chosen, start)
        if self._is_worthwhile(chosen) and not self._is_made(chosen, start):
            self._load(code)
            self._made, self._made_of = {path.key for path in chosen}, start

    def _is_made(self, chosen: list[Path], start: HotStart) -> bool:
        """Return whether the program in use is for these stacks already."""
        keys = {path.key for path in chosen}
        return self._in and keys <= self._made and start == self._made_of

    def _together(self, chosen: list[Path], start: HotStart) -> list[Path]:
        """Return the stacks that one program can follow; one that cannot be is not tried again."""
        kept: list[Path] = []
        for path in chosen:
            if not self._is_possible(path, start):
                continue
            try:
                self._generate([*kept, path], start)
            except Unsupported:
                continue  # beside the hotter ones
            kept.append(path)
        return kept

    def _generate(self, chosen: list[Path], start: HotStart) -> bytes:
        root = hot_paths.merged(chosen, self._numbers)
        return program.generate(root, start, self._kernel, self._maps, self._counts)

    @property
    def _counts(self) -> bool:
        """Whether programs count by themselves."""
        return not self._probe.config["slow"]

    def _is_possible(self, path: Path, start: HotStart) -> bool:
        """Return whether a stack can be followed; it is not tried again otherwise."""
        try:
            self._generate([path], start)
        except Unsupported:
            self._refused.add(path.key)
            return False
        return True

    def _fill(self, found: list[Path], new: bool = False) -> None:
        """Write where stacks end in each CPU's tree, before a program needs it.

        A program that is loaded behind it may still load a 0 on a CPU that reorders loads: a miss.
        """
        for path in found:
            number = self._numbers.get(path.key)
            if number is None:
                if not new or len(self._numbers) == HOT_LEAVES:
                    continue
                number = self._numbers[path.key] = len(self._numbers)
            for cpu, offset in path.nodes.items():
                store(self._leaves, leaf_at(cpu, number), offset, LEAF_BYTES)

    def _load(self, instructions: bytes) -> None:
        array, entry = self._obj.map("hot"), self._obj.program_fd(self._probe.program)
        kind = programs.ProgramKind.of(
            self._obj.program_info(self._probe.program),
            _FENTRY if self._probe.attach in TRAMPOLINES else 0,
        )
        of_module = bool(self._probe.selection.targets[0].module)
        fd = programs.load(_NAME, instructions, kind, of_module and bool(kind.function_id))
        try:
            if not self._programs:
                programs.put(array, HOT_ENTRY, entry)
            programs.put(array, HOT_PROGRAM, fd)
        finally:
            os.close(fd)
        self._programs += 1
        self._in, self._why = True, ""
