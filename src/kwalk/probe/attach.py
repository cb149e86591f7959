# SPDX-License-Identifier: MIT
"""The ways to get a program called, and the places that they go to."""

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
# What a user calls it -> what it is called at each place in a function.
WAYS = {
    "kprobe": {Place.ENTRY: "kprobe", Place.INSIDE: "kprobe", Place.RETURN: "kretprobe"},
    "kprobe.multi": {Place.ENTRY: "kprobe.multi", Place.RETURN: "kretprobe.multi"},
    "fentry": {Place.ENTRY: "fentry", Place.RETURN: "fexit"},
}
# What is no function has ways of its own.
EVENT_WAYS = {Place.TRACEPOINT: ["raw_tp", "tracepoint"], Place.SAMPLE: ["perf_event"]}
TRAMPOLINES = {"fentry", "fexit"}
KPROBES = {"kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi"}
MULTI = {"kprobe.multi", "kretprobe.multi"}

# What the kernel says of one function: kernel/kprobes.c, kernel/trace/trace_kprobe.c and fprobe.c,
# arch/x86/kernel/kprobes/core.c. Other errors are of the kernel or the machine: the next function
# would meet them, too.
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
"""Told how many places of how many are attached to; may raise to end it."""


def nobody(done: int, total: int) -> None:
    """Watch nothing."""


def has_multi(symbols: Kallsyms) -> bool:
    """Whether the kernel can attach to many functions at once (kernel/trace/fprobe.c)."""
    return bool(symbols.address("register_fprobe_ips"))


def is_ambiguous(target: Target, symbols: Kallsyms) -> bool:
    """Whether something else has the same name."""
    return _is_ambiguous(target.name, symbols)


def _is_ambiguous(name: str, symbols: Kallsyms) -> bool:
    return len({symbol.address for symbol in symbols.find(name)}) > 1


def aliases(target: Target, symbols: Kallsyms) -> list[str]:
    """Return every name of a function, its own included."""
    return symbols.aliases(Symbol(target.address, target.name, target.module))


def names_for_trampolines(target: Target, symbols: Kallsyms) -> list[str]:
    """Return every name by which fentry finds a function, the one asked for first.

    A function with several names has one of them in BTF.
    """
    names = dict.fromkeys((target.name, *aliases(target, symbols)))
    return [name for name in names if not _is_ambiguous(name, symbols)]


def attach(
    obj: Object, way: str, selection: Selection, symbols: Kallsyms, watch: Watch = nobody
) -> list[Skipped]:
    """Attach to every place that lets us, and return the others.

    :raises LibbpfError: if none does, or for a reason that is not the place's.
    :raises Shortage: if more open files are needed than this process may have.
    """
    program, targets = PROGRAMS[way], selection.targets
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
        # Of vmlinux's functions the address is known, and up to 6.1 the kernel goes through all of
        # its symbols for a name. Those of modules may have moved meanwhile.
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
    """Attach to all at once; where the kernel refuses, it does not say which: halve, and again."""
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
