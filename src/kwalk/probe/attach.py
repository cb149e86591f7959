# SPDX-License-Identifier: MIT
"""Ways of attaching: which BPF program each takes, and how it is attached to a selection."""

from __future__ import annotations

from kwalk.abi import Place
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.kernel.shortage import make_room
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.probe.attach_multi import (
    KPROBE_MULTI,
    OF_FUNCTION,
    TRACING_MULTI,
    Watch,
    attach_kprobe_multi,
    attach_tracing_multi,
    nobody,
)
from kwalk.probe.selection import Selection, Skipped
from kwalk.probe.target import Target
from kwalk.transport.counters import online_cpus

PROGRAMS = {
    "kprobe": "kw_kprobe",
    "kretprobe": "kw_kprobe",
    "kprobe.multi": "kw_multi",
    "kretprobe.multi": "kw_multi",
    "fentry": "kw_fentry",
    "fexit": "kw_fexit",
    "fentry.multi": "kw_fentry_multi",
    "fexit.multi": "kw_fexit_multi",
    "raw_tp": "kw_raw_tp",
    "tracepoint": "kw_tp",
    "perf_event": "kw_sample",
}
# Entry programs that call generated ones for hot stacks.
HOT_PROGRAMS = {"kprobe": "kw_kprobe_hot", "fentry": "kw_fentry_hot"}
# --attach -> the way that it stands for at each place in a function.
WAYS = {
    "kprobe": {Place.ENTRY: "kprobe", Place.INSIDE: "kprobe", Place.RETURN: "kretprobe"},
    "kprobe.multi": {Place.ENTRY: "kprobe.multi", Place.RETURN: "kretprobe.multi"},
    "fentry": {Place.ENTRY: "fentry", Place.RETURN: "fexit"},
    "fentry.multi": {Place.ENTRY: "fentry.multi", Place.RETURN: "fexit.multi"},
}
# Ways for tracepoints and samples, the preferred one first.
EVENT_WAYS = {Place.TRACEPOINT: ["raw_tp", "tracepoint"], Place.SAMPLE: ["perf_event"]}
TRAMPOLINES = {"fentry", "fexit"}
KPROBES = {"kprobe", "kretprobe"} | KPROBE_MULTI


def is_ambiguous(target: Target, symbols: Kallsyms) -> bool:
    """Return whether kallsyms has the target's name at several addresses, data included."""
    return _is_ambiguous(target.name, symbols)


def _is_ambiguous(name: str, symbols: Kallsyms) -> bool:
    return len({symbol.address for symbol in symbols.find(name)}) > 1


def aliases(target: Target, symbols: Kallsyms) -> list[str]:
    """Return every name that kallsyms has at a function's address, its own included."""
    return symbols.aliases(Symbol(target.address, target.name, target.module))


def names_for_trampolines(target: Target, symbols: Kallsyms) -> list[str]:
    """Return the names by which fentry may find a function, the one that the user gave first.

    BTF has only one name of a function that has several. Ambiguous names are left out: libbpf
    could find another function by them.
    """
    names = dict.fromkeys((target.name, *aliases(target, symbols)))
    return [name for name in names if not _is_ambiguous(name, symbols)]


def attach(
    obj: Object,
    way: str,
    selection: Selection,
    symbols: Kallsyms,
    watch: Watch = nobody,
    hot: bool = False,
) -> list[Skipped]:
    """Attach a loaded program to every place of a selection; return the places refused.

    :param way: One of ``PROGRAMS``.
    :param hot: Attach the way's program of ``HOT_PROGRAMS``.
    :raises LibbpfError: if every place is refused, or at an error that does not concern a single
        function (``OF_FUNCTION``).
    :raises Shortage: if that takes more open files than this process may have.
    """
    program, targets = (HOT_PROGRAMS if hot else PROGRAMS)[way], selection.targets
    if way in TRAMPOLINES:
        obj.attach_trace(program, targets[0].name)
        return []
    if way in ("raw_tp", "tracepoint"):
        category, _, event = targets[0].name.partition(":")
        obj.attach_tracepoint(program, category if way == "tracepoint" else "", event)
        return []
    if way == "perf_event":
        cpus = online_cpus()
        make_room(len(cpus))
        obj.attach_samples(program, cpus, int(targets[0].name))
        return []
    if way in KPROBE_MULTI:
        return attach_kprobe_multi(obj, program, targets, watch)
    if kind := TRACING_MULTI.get(way):
        return attach_tracing_multi(obj, program, kind, targets, symbols, watch)
    refused: list[Skipped] = []
    first: LibbpfError | None = None
    many = len(targets) > 1
    make_room(len(targets))
    for done, target in enumerate(targets):
        if many:
            watch(done - len(refused), len(targets))
        # By address if there are many: up to 6.1 the kernel searches all of its symbols for a
        # name. Modules go by name, since they may have been loaded elsewhere meanwhile.
        known = (many and not target.module) or is_ambiguous(target, symbols)
        name = target.address if known else target.name
        cookie = {"cookie": target.traced} if many else {}
        try:
            obj.attach_kprobe(program, name, target.offset, target.returns, target.label, **cookie)
        except LibbpfError as error:
            if error.errno not in OF_FUNCTION:
                raise error.after(done - len(refused), len(targets)) from None
            first = first or error
            refused.append(Skipped(target, error.what))
    if first and len(refused) == len(targets):
        raise first
    return refused
