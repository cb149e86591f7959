# SPDX-License-Identifier: MIT
"""Attaching to many functions by one link: kprobe.multi, and fentry.multi (7.2)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.libbpf import ENOTSUPP, LibbpfError
from kwalk.libbpf.btf import KernelBtf
from kwalk.libbpf.object import ENDLESS, WHY_ENDLESS, Object
from kwalk.libbpf.tracing_multi import BPF_TRACE_FENTRY_MULTI, BPF_TRACE_FEXIT_MULTI
from kwalk.probe.selection import Skipped, reasons_of
from kwalk.probe.target import Target
from kwalk.support.text import plural

KPROBE_MULTI = {"kprobe.multi", "kretprobe.multi"}
# Way -> attach type of its programs.
TRACING_MULTI = {"fentry.multi": BPF_TRACE_FENTRY_MULTI, "fexit.multi": BPF_TRACE_FEXIT_MULTI}
MULTI = KPROBE_MULTI | set(TRACING_MULTI)

# Errors that concern a single function: kernel/kprobes.c, kernel/trace/trace_kprobe.c and fprobe.c,
# kernel/bpf/trampoline.c, arch/x86/kernel/kprobes/core.c. Any other error would hit the next
# function as well.
OF_FUNCTION = frozenset(
    {
        errno.EINVAL,
        errno.ENOENT,
        errno.ESRCH,
        errno.EILSEQ,
        errno.EADDRNOTAVAIL,
        errno.EBUSY,
        errno.EEXIST,
        ENOTSUPP,  # arch_prepare_bpf_trampoline()
    }
)

Watch = Callable[[int, int], None]
"""Progress callback: places attached so far, places in all. It may raise to stop attaching."""


def nobody(done: int, total: int) -> None:
    """Ignore progress."""


def lacks_multi(way: str, symbols: Kallsyms) -> str:
    """Return why the kernel has no links of this way, one of ``MULTI``; "" if it has."""
    if way in TRACING_MULTI:
        # kernel/bpf/trampoline.c; without CONFIG_HAVE_SINGLE_FTRACE_DIRECT_OPS, as on arm64, it is
        # inline and refuses.
        there = symbols.address("bpf_trampoline_multi_attach")
        return "" if there else "this kernel has no fentry.multi (BPF_TRACE_FENTRY_MULTI)"
    there = symbols.address("register_fprobe_ips")  # kernel/trace/fprobe.c
    return "" if there else "this kernel has no kprobe.multi (CONFIG_FPROBE)"


def attach_kprobe_multi(
    obj: Object, program: str, targets: Sequence[Target], watch: Watch = nobody
) -> list[Skipped]:
    """Attach to all functions by one link; return the refused ones."""

    def link(part: Sequence[Target]) -> None:
        obj.attach_kprobes(program, [target.address for target in part], part[0].returns)

    return _halving(targets, len(targets), link, watch)


def attach_tracing_multi(
    obj: Object,
    program: str,
    attach_type: int,
    targets: Sequence[Target],
    symbols: Kallsyms,
    watch: Watch = nobody,
) -> list[Skipped]:
    """Attach to all functions by one link; return the functions without a trampoline.

    :raises LibbpfError: also if none of them has one.
    """
    ids, refused = _ids(targets, symbols)

    def link(part: Sequence[Target]) -> None:
        numbers, cookies = [ids[target] for target in part], [target.traced for target in part]
        obj.attach_traces(program, attach_type, numbers, cookies)

    if not ids:
        what = f"{plural(len(refused), 'function')} without a trampoline ({reasons_of(refused)})"
        raise LibbpfError(what, errno.EOPNOTSUPP)
    return refused + _halving(list(ids), len(targets), link, watch)


def _ids(targets: Sequence[Target], symbols: Kallsyms) -> tuple[dict[Target, int], list[Skipped]]:
    """Return the functions' ids in vmlinux's BTF, and the functions that have no trampoline."""
    ids: dict[Target, int] = {}
    refused: list[Skipped] = []
    ambiguous = symbols.repeated({target.name for target in targets})
    with KernelBtf() as btf:
        for target in targets:
            number = 0
            if target.name in ENDLESS:
                why = WHY_ENDLESS
            elif target.module:
                why = "it is a module's"
            elif target.name in ambiguous:
                why = "another one has the same name"
            elif not (number := btf.function(target.name) or _by_alias(target, symbols, btf)):
                why = "the kernel's BTF does not have it"
            else:
                why = btf.why_no_trampoline(number)
            if why:
                refused.append(Skipped(target, why))
            else:
                ids[target] = number
    return ids, refused


def _by_alias(target: Target, symbols: Kallsyms, btf: KernelBtf) -> int:
    """Return a function's id by another of its names: BTF has only one of several."""
    names = symbols.aliases(Symbol(target.address, target.name, target.module))
    alone = (name for name in names if len({s.address for s in symbols.find(name)}) == 1)
    return next(filter(None, map(btf.function, alone)), 0)


def _halving(
    targets: Sequence[Target], number: int, link: Callable[[Sequence[Target]], None], watch: Watch
) -> list[Skipped]:
    """Attach by one link, or by several where the kernel refuses some functions.

    It does not say which one it refuses, so the list is halved until each culprit is alone.
    """
    refused: list[Skipped] = []
    waiting = [list(targets)]
    while waiting:
        part = waiting.pop()
        attached = len(targets) - len(part) - sum(map(len, waiting)) - len(refused)
        watch(attached, number)
        try:
            link(part)
        except LibbpfError as error:
            if error.errno not in OF_FUNCTION or len(targets) == 1:
                raise error.after(attached, number) from None
            if len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
                continue
            refused.append(Skipped(part[0], f"the kernel refuses it: {os.strerror(error.errno)}"))
            if len(refused) == len(targets):
                raise
    return refused
