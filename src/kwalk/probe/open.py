# SPDX-License-Identifier: MIT
"""Open a probe: by the best method and way of attaching that the kernel permits."""

from __future__ import annotations

import errno
import time
from typing import NamedTuple

from kwalk.abi import Method
from kwalk.errors import UsageError
from kwalk.kernel.capabilities import lacks
from kwalk.kernel.features import no_fentry, no_kprobes
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.shortage import make_room
from kwalk.kernel.switches import SwitchedOff
from kwalk.libbpf import ENOTSUPP, LibbpfError
from kwalk.options.probe import ProbeOptions
from kwalk.probe import hot_entry
from kwalk.probe.attach import (
    EVENT_WAYS,
    TRAMPOLINES,
    WAYS,
    aliases,
    attach,
    names_for_trampolines,
)
from kwalk.probe.attach_multi import MULTI, TRACING_MULTI, Watch, lacks_multi, nobody
from kwalk.probe.beside import KprobesBeside
from kwalk.probe.config import CannotWalk
from kwalk.probe.diagnose import BY_KPROBE, explain
from kwalk.probe.ftrace_sites import in_memory
from kwalk.probe.load import Loaded, load
from kwalk.probe.nested import NestedPrograms
from kwalk.probe.probe import Probe
from kwalk.probe.selection import Selection, names_of, reasons_of
from kwalk.probe.switched_off import off, off_in
from kwalk.support.text import plural


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
        trampolines = not lacks_multi("fentry.multi", self.symbols)
        if self.options.attach == "auto":
            # The helper starts at a kprobe's registers; for the walk fentry is cheaper.
            one = ["kprobe", "fentry"] if self.method == Method.HELPER else ["fentry", "kprobe"]
            # ftrace guards kprobes against a function that their own work calls, trampolines not.
            asked = ["kprobe.multi", "kprobe"] if many else one
        elif many and trampolines and asked == ["fentry"] and self.method == Method.MANUAL:
            asked = ["fentry.multi"]
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
        if self.method != Method.MANUAL and not TRACING_MULTI.keys().isdisjoint(ways):
            raise UsageError(
                "fentry.multi is for the manual method: the helper starts at a kprobe's registers",
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
                if way in TRAMPOLINES and error.errno == ENOTSUPP and no_fentry(self.symbols):
                    error = LibbpfError(no_fentry(self.symbols), errno.EOPNOTSUPP)
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
        if way in MULTI and (why := lacks_multi(way, self.symbols)):
            raise LibbpfError(why, errno.EOPNOTSUPP)
        if way in BY_KPROBE and (why := no_kprobes(self.symbols)):
            raise LibbpfError(why, errno.EOPNOTSUPP)
        make_room(0)
        loaded = self._load(way)
        selection = self.selection
        beside: KprobesBeside | None = None
        nested = NestedPrograms.of(loaded, way, selection, self.symbols, self.method)
        try:
            if found := off_in(way, loaded.facts):
                raise found
            if selection.open:
                selection = selection.sifted(in_memory(loaded.obj, self.symbols))
            if nested:
                nested.begin()
            began = time.monotonic()
            refused = attach(loaded.obj, way, selection, self.symbols, self.watch, loaded.hot)
            if refused and way == "fentry.multi" and not lacks_multi("kprobe.multi", self.symbols):
                beside = KprobesBeside(loaded)
                left = beside.attach([skip.target for skip in refused], self._rest(selection))
                there = [skip for skip in refused if skip.target not in {s.target for s in left}]
                if there:
                    told = f"{names_of(there)} ({reasons_of(there)})"
                    number = plural(len(there), "function")
                    loaded.notes.append(f"{number} of these by kprobe.multi: {told}")
                refused = left
            attached = time.monotonic()
        except BaseException:
            if nested:
                nested.close()
            if beside:
                beside.obj.close()
            loaded.close()
            raise
        notes = [*self.notes, *loaded.notes]
        return Probe(
            *(loaded, selection, self.method, way, refused, notes, began, attached),
            nested=nested,
            beside=beside,
        )

    def _rest(self, selection: Selection) -> Watch:
        """Return the progress callback for the last ones of a selection."""
        whole = len(selection.targets)
        return lambda done, total: self.watch(whole - total + done, whole)

    def _load(self, way: str) -> Loaded:
        """Load the program, one that calls generated programs if that is wanted and accepted."""
        what = way, self.selection, self.symbols, self.options, self.method
        if hot_entry.wants(way, self.selection, self.options, self.method):
            try:
                return load(*what, hot=True)
            except LibbpfError:
                pass  # if it is not for these programs, it comes again
        return load(*what)
