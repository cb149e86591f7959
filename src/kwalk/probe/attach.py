# SPDX-License-Identifier: MIT
"""Ways of attaching: which BPF program each takes, and how it is attached to a selection."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from kwalk.abi import Place
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.kernel.shortage import make_room
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
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
}
# Ways for tracepoints and samples, the preferred one first.
EVENT_WAYS = {Place.TRACEPOINT: ["raw_tp", "tracepoint"], Place.SAMPLE: ["perf_event"]}
TRAMPOLINES = {"fentry", "fexit"}
KPROBES = {"kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi"}
MULTI = {"kprobe.multi", "kretprobe.multi"}

# Errors that concern a single function: kernel/kprobes.c, kernel/trace/trace_kprobe.c and fprobe.c,
# arch/x86/kernel/kprobes/core.c. Any other error would hit the next function as well.
OF_FUNCTION = frozenset(
    {
        errno.EINVAL,
        errno.ENOENT,
        errno.ESRCH,
        errno.EILSEQ,
        errno.EADDRNOTAVAIL,
        errno.EBUSY,
        errno.EEXIST,
    }
)

Watch = Callable[[int, int], None]
"""Progress callback: places attached so far, places in all. It may raise to stop attaching."""


def nobody(done: int, total: int) -> None:
    """Ignore progress."""


def has_multi(symbols: Kallsyms) -> bool:
    """Return whether the kernel has kprobe.multi (kernel/trace/fprobe.c)."""
    return bool(symbols.address("register_fprobe_ips"))


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
    if way in MULTI:
        return _attach_multi(obj, program, targets, watch)
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


def _attach_multi(
    obj: Object, program: str, targets: Sequence[Target], watch: Watch
) -> list[Skipped]:
    """Attach to all functions by one link, or by several where the kernel refuses some functions.

    It does not say which one it refuses, so the list is halved until each culprit is alone.
    """
    refused: list[Skipped] = []
    waiting = [list(targets)]
    while waiting:
        part = waiting.pop()
        attached = len(targets) - len(part) - sum(map(len, waiting)) - len(refused)
        watch(attached, len(targets))
        try:
            obj.attach_kprobes(program, [target.address for target in part], part[0].returns)
        except LibbpfError as error:
            if error.errno not in OF_FUNCTION or len(targets) == 1:
                raise error.after(attached, len(targets)) from None
            if len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
                continue
            refused.append(Skipped(part[0], error.what))
            if len(refused) == len(targets):
                raise
    return refused
