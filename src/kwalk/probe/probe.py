# SPDX-License-Identifier: MIT
"""The probe: the BPF program attached to a selection, in the best way that the kernel permits."""

from __future__ import annotations

import errno
import time
from typing import NamedTuple

from kwalk.abi import Method, Unwinder
from kwalk.errors import UsageError
from kwalk.kernel.capabilities import lacks
from kwalk.kernel.features import no_kprobes
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.shortage import make_room
from kwalk.kernel.switches import SwitchedOff
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.options.probe import ProbeOptions
from kwalk.probe.attach import (
    EVENT_WAYS,
    KPROBES,
    MULTI,
    PROGRAMS,
    TRAMPOLINES,
    WAYS,
    Watch,
    aliases,
    attach,
    has_multi,
    names_for_trampolines,
    nobody,
)
from kwalk.probe.config import CannotWalk
from kwalk.probe.diagnose import BY_KPROBE, explain
from kwalk.probe.ftrace_sites import in_memory
from kwalk.probe.load import Loaded, load
from kwalk.probe.selection import Selection, Skipped
from kwalk.probe.switched_off import off, off_in
from kwalk.support.text import plural
from kwalk.transport.context_tree import Tree


class Probe(NamedTuple):
    """A loaded and attached program.

    :ivar attach: The way in use, one of ``attach.PROGRAMS``.
    :ivar refused: Places that the kernel did not let us attach to.
    :ivar notes: Sentences for the user, such as why not by the requested method or way.
    :ivar began: Start of attaching, in seconds of CLOCK_MONOTONIC. With many kprobes the first
        ones count hits from here on.
    :ivar attached: End of attaching, likewise.
    """

    loaded: Loaded
    selection: Selection
    method: Method
    attach: str
    refused: list[Skipped]
    notes: list[str]
    began: float
    attached: float

    @property
    def obj(self) -> Object:
        """The loaded BPF object."""
        return self.loaded.obj

    @property
    def tree(self) -> Tree:
        """The calling-context tree."""
        return self.loaded.tree

    def hits(self) -> int:
        """Return the hits so far: runs of the program, filtered ones included."""
        return self.tree.hits() + self.filtered()

    def filtered(self) -> int:
        """Return the hits so far that a filter refused."""
        return self.loaded.gates.filtered()

    @property
    def config(self) -> dict[str, int]:
        """Members of ``struct kw_config``, except the filters' values."""
        return self.loaded.config

    @property
    def control(self) -> dict[str, int]:
        """Members of ``struct kw_control`` as written at load; empty for the helper."""
        return self.loaded.control

    @property
    def unwinder(self) -> Unwinder:
        """The kernel's own unwinder."""
        return self.loaded.facts.unwinder

    @property
    def counts_missed(self) -> bool:
        """Whether this kernel counts the misses of kprobes."""
        return self.loaded.facts.counts_missed

    def uncounted(self) -> str:
        """Return which missed hits this kernel does not count, as a sentence; "" if it counts all.

        A program at a kprobe, tracepoint or sample does not run while another of these does
        (``bpf_prog_active``: kernel/trace/bpf_trace.c, bpf_overflow_handler() in
        kernel/events/core.c).
        """
        if self.attach == "perf_event":
            return "the kernel does not count samples that it drops while a BPF program runs"
        if self.counts_missed or not (self.by_kprobe or self.attach == "tracepoint"):
            return ""
        what = "kprobes" if self.by_kprobe else "tracepoints"
        return f"this kernel does not count the misses of {what}"

    @property
    def program(self) -> str:
        """Name of the program in the object."""
        return PROGRAMS[self.attach]

    @property
    def by_kprobe(self) -> bool:
        """Whether the program gets ``pt_regs``: at kprobes, kretprobes, and .multi ones."""
        return self.attach in KPROBES

    @property
    def many(self) -> bool:
        """Whether the program serves several functions: each stack begins with its own."""
        return bool(self.config["many"])

    @property
    def functions(self) -> int:
        """Number of places attached to."""
        return len(self.selection.targets) - len(self.refused)

    def close(self) -> None:
        """Detach and free everything."""
        self.loaded.close()


def open_probe(
    selection: Selection,
    symbols: Kallsyms,
    options: ProbeOptions,
    watch: Watch = nobody,
    way: str = "",
) -> Probe:
    """Load the program and attach it; on failure nothing is left in the kernel.

    It is not attached where a switch of the kernel (sysctl, debugfs) would keep it from running.

    :param watch: Progress callback, called if there are many places.
    :param way: One of ``attach.PROGRAMS`` to use in place of ``options.attach``; "" for that one.
    :raises KwalkError: with all reasons, if every way that the options allow is refused;
        ``LibbpfError`` or ``SwitchedOff`` if ``way`` is given and fails.
    """
    method = options.method or Method.MANUAL
    notes: list[str] = []
    while True:
        try:
            probe = _Attempt(selection, symbols, options, method, notes, watch, way).any_way()
        except CannotWalk as error:
            if not method & Method.MANUAL:
                raise
            notes.append(f"using the helper, since {error.what}")
            method = Method.HELPER
        else:
            if options.verify and not method & Method.MANUAL:
                probe.notes.append("nothing to verify: the helper's stacks are the kernel's own")
            return probe


class _Attempt(NamedTuple):
    """An attempt to trace a selection by a method, in each way in turn."""

    selection: Selection
    symbols: Kallsyms
    options: ProbeOptions
    method: Method
    notes: list[str]
    watch: Watch
    way: str

    def _ways(self) -> list[str]:
        if self.way:
            return [self.way]
        place, asked = self.selection.place, [self.options.attach]
        if events := EVENT_WAYS.get(place):
            if self.options.attach != "auto":
                raise UsageError(
                    f"{self.selection.label} is not a function: {asked[0]} cannot attach to it",
                    "Leave --attach out.",
                )
            # syscalls:* are made of raw_syscalls:sys_enter and sys_exit: no raw tracepoint.
            made = self.selection.targets[0].name.startswith("syscalls:")
            return [way for way in events if not made or way != "raw_tp"]
        many = len(self.selection.targets) > 1
        if self.options.attach == "auto":
            # The helper starts at a kprobe's registers; for the walk fentry is cheaper.
            one = ["kprobe", "fentry"] if self.method == Method.HELPER else ["fentry", "kprobe"]
            asked = ["kprobe.multi", "kprobe"] if many else one
        ways = [WAYS[way][place] for way in asked if place in WAYS[way]]
        label = self.selection.label
        if not ways:
            raise UsageError(
                f"{asked[0]} cannot attach inside a function, where {label} is",
                "Attach by kprobe, or leave --attach out.",
            )
        if many and TRAMPOLINES & set(ways):
            raise UsageError(
                f"fentry attaches to one function, and {label} is {len(self.selection.targets):,}",
                "Attach by kprobe.multi, or leave --attach out.",
            )
        return ways

    def any_way(self) -> Probe:
        """Attach by the first way that works."""
        refusals: list[tuple[str, LibbpfError]] = []
        switched: list[tuple[str, SwitchedOff]] = []
        for way in self._ways():
            try:
                probe = self._by(way)
            except SwitchedOff as error:
                switched.append((way, error))
            except LibbpfError as error:
                refusals.append((way, error))
                if error.is_shortage:  # the next way would meet it as well
                    break
            else:
                told = [*switched, *refusals]
                probe.notes.extend(f"not by {way}: {error.what}" for way, error in told)
                return probe
        if self.way:
            raise [*switched, *refusals][0][1]
        if switched:
            ways, first = " or ".join(way for way, _ in switched), switched[0][1]
            raise SwitchedOff(
                f"{self.selection.label} cannot be traced by {ways}: {first.what}", first.hint
            )
        is_event = self.selection.place.is_event
        names = [] if is_event else aliases(self.selection.targets[0], self.symbols)
        raise explain(self.selection, refusals, names)

    def _by(self, way: str) -> Probe:
        if found := off(way, self.selection, self.symbols):
            raise found
        targets = self.selection.targets
        if way in TRAMPOLINES and not names_for_trampolines(targets[0], self.symbols):
            what = f"fentry finds functions by name, and {targets[0].name} is ambiguous"
            raise LibbpfError(what, errno.EEXIST)
        if way in TRAMPOLINES and targets[0].module and lacks("CAP_SYS_ADMIN"):
            what = (
                f"fentry needs the BTF of module {targets[0].module}, which takes CAP_SYS_ADMIN, "
                "and this process lacks it"
            )
            raise LibbpfError(what, errno.EPERM)
        if way in MULTI and not has_multi(self.symbols):
            raise LibbpfError("this kernel has no kprobe.multi (CONFIG_FPROBE)", errno.EOPNOTSUPP)
        if way in BY_KPROBE and (why := no_kprobes(self.symbols)):
            raise LibbpfError(why, errno.EOPNOTSUPP)
        make_room(0)
        loaded = load(way, self.selection, self.symbols, self.options, self.method)
        selection = self.selection
        try:
            if found := off_in(way, loaded.facts):
                raise found
            if selection.open:
                selection = selection.sifted(in_memory(loaded.obj, self.symbols))
            began = time.monotonic()
            refused = attach(loaded.obj, way, selection, self.symbols, self.watch)
            attached = time.monotonic()
        except BaseException:
            loaded.close()
            raise
        notes = [*self.notes, *loaded.notes]
        return Probe(loaded, selection, self.method, way, refused, notes, began, attached)


SHOWN = 3


def selection_notes(probe: Probe) -> list[str]:
    """Return a note for each reason why functions of the selection are not traced."""
    notes = []
    for skipped, what in (
        (probe.selection.skipped, "cannot be traced (`kwalk functions` says why)"),
        (probe.refused, "the kernel did not let us attach to"),
    ):
        if skipped:
            names = list(dict.fromkeys(skip.target.name for skip in skipped))
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            told = ", ".join(names[:SHOWN]) + more
            notes.append(f"skipped {plural(len(skipped), 'function')} that {what}: {told}")
    return notes
