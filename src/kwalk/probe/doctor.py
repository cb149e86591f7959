# SPDX-License-Identifier: MIT
"""Survey of the kernel for ``kwalk doctor``: privileges, features, and each way of attaching.

Each way is tried with a canary probe, since a probe that is attached need not run. No kernel
version is compared.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kwalk.abi import Method, Place, Unwinder
from kwalk.arch import here
from kwalk.errors import KwalkError
from kwalk.kernel import capabilities, features
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import lib
from kwalk.options.probe import ProbeOptions
from kwalk.probe import canary
from kwalk.probe import target as targets
from kwalk.probe.attach import HOT_PROGRAMS
from kwalk.probe.attach_multi import lacks_multi
from kwalk.probe.canary import Trial
from kwalk.probe.open import open_probe
from kwalk.probe.permissions import permitted
from kwalk.probe.probe import Probe
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

JIT = Path("/proc/sys/net/core/bpf_jit_enable")
UNWINDERS = {
    Unwinder.NONE: "none that kwalk knows",
    Unwinder.FRAME_POINTER: "frame pointers",
    Unwinder.ORC: "ORC",
}


class AttachWay(NamedTuple):
    """A way of attaching to a kind of place.

    :ivar name: Its name in the output.
    :ivar way: One of ``attach.PROGRAMS``.
    """

    name: str
    way: str
    place: Place


WAYS = (
    AttachWay("entry by fentry", "fentry", Place.ENTRY),
    AttachWay("entry by kprobe", "kprobe", Place.ENTRY),
    AttachWay("entry by fentry.multi", "fentry.multi", Place.ENTRY),
    AttachWay("entry by kprobe.multi", "kprobe.multi", Place.ENTRY),
    AttachWay("return by fexit", "fexit", Place.RETURN),
    AttachWay("return by fexit.multi", "fexit.multi", Place.RETURN),
    AttachWay("return by kretprobe", "kretprobe", Place.RETURN),
    AttachWay("return by kretprobe.multi", "kretprobe.multi", Place.RETURN),
    AttachWay("inside by kprobe", "kprobe", Place.INSIDE),
    AttachWay("raw tracepoints", "raw_tp", Place.TRACEPOINT),
    AttachWay("tracepoints by perf", "tracepoint", Place.TRACEPOINT),
    AttachWay("samples", "perf_event", Place.SAMPLE),
)
# In order of preference.
FUNCTIONS = tuple(kind.name for kind in WAYS if kind.place == Place.ENTRY)
BY_FENTRY, BY_KPROBE = "entry by fentry", "entry by kprobe"


@dataclass(frozen=True)
class Way:
    """Result of trying a way of attaching.

    :param works: The program ran for each of the calls.
    :param text: How often it ran, or why it does not work.
    :param next: Hint for the user, "" if there is none.
    :param fired: Runs of the program, out of ``calls``; both 0 if it was not attached.
    """

    name: str
    works: bool
    text: str
    next: str = ""
    fired: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Finding:
    """One line of the survey.

    :param ok: True if it meets kwalk's needs, False if not, None if it is mere information.
    :param text: The value found, or why it is missing.
    """

    name: str
    ok: bool | None
    text: str


@dataclass
class Survey:
    """Findings about the kernel, and the method and way that kwalk would use for a function.

    :param ways: Result for each of ``WAYS``; empty if kallsyms could not be read.
    :param method: ``manual`` or ``helper``; "" if functions cannot be traced.
    :param attach: ``fentry``, ``kprobe`` or ``kprobe.multi``; "" if functions cannot be traced.
    :param reasons: Why kwalk would not use a better method or way, or none at all.
    """

    findings: list[Finding] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    method: str = ""
    attach: str = ""
    reasons: list[str] = field(default_factory=list)

    @property
    def others(self) -> list[str]:
        """Names of the working ways, other than those at function entries."""
        return [way.name for way in self.ways if way.works and way.name not in FUNCTIONS]

    @property
    def exit_code(self) -> int:
        """0 if functions can be traced, 3 if only other places can, 1 if nothing can."""
        if self.method:
            return 0
        return 3 if self.others else 1

    def add(self, name: str, ok: bool | None, text: str) -> None:
        """Append a finding."""
        self.findings.append(Finding(name, ok, text))


TryFast = Callable[[Probe, Kallsyms, Callable[[], object]], tuple[bool, str]]
"""Tries generated programs (``hot.trial``), which this package is below."""


def survey(function: str | None = None, try_fast: TryFast | None = None) -> Survey:
    """Survey this kernel: read its files, then try each way of attaching.

    :param function: Attach to it for a moment, too, by fentry and by kprobe.
    :param try_fast: Also try generated programs by this.
    :raises UsageError: if there is no such function, or its name is ambiguous.
    """
    result = Survey()
    result.add("kernel", None, f"{platform.release()} {platform.machine()}")
    missing = capabilities.missing_capabilities()
    lack = f"lacks {', '.join(missing)}" if missing else ""
    lack = capabilities.NESTED if capabilities.in_user_namespace() else lack
    result.add("privileges", not lack, lack or "enough")
    for name, may, text in permitted():
        result.add(name, may, text)
    mode = capabilities.lockdown()
    result.add(
        "lockdown",
        mode != "confidentiality" if mode else None,
        mode or "unknown: no securityfs, or none",
    )
    why = capabilities.unreadable(capabilities.BTF)
    btf = str(capabilities.BTF)
    result.add("BTF", not why, f"{btf}: {why} (CONFIG_DEBUG_INFO_BTF)" if why else btf)
    result.add("JIT", *_jit())
    version = _tried(lambda: f"{lib().libbpf_major_version()}.{lib().libbpf_minor_version()}")
    result.add("libbpf", version[0], version[1])
    try:
        symbols = Kallsyms.read()
    except KwalkError as error:
        result.add("kallsyms", False, error.what)
        result.reasons.append(error.what)
        return result
    result.add("kallsyms", True, "with addresses")
    why = features.no_kprobes(symbols)
    result.add("kprobes", not why, why or "yes")
    loops = features.has_loops(symbols)
    result.add("BPF loops", loops, "yes (bpf_loop)" if loops else "no: this kernel is too old")
    for way in ("fentry.multi", "kprobe.multi"):
        result.add(way, None, lacks_multi(way, symbols) or "yes")
    typed = symbols.address("bpf_rdonly_cast")
    result.add(
        "typed loads",
        None,
        "yes (bpf_rdonly_cast)" if typed else "no: bpf_probe_read_kernel instead, slower",
    )
    _try_ways(result, symbols, function, try_fast)
    return result


def _tried(body: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, body()
    except KwalkError as error:
        return False, error.what


def _jit() -> tuple[bool | None, str]:
    try:
        enabled = JIT.read_text().strip() != "0"
    except OSError:
        return None, f"{JIT} cannot be read"
    return enabled, "on" if enabled else "off: programs are interpreted, fentry is impossible"


def _try_ways(
    result: Survey, symbols: Kallsyms, function: str | None, try_fast: TryFast | None
) -> None:
    try:
        capabilities.check_access()
        features.check_kernel(symbols)
        lib()
    except KwalkError as error:
        result.add("unwinder", None, _unwinder_by_symbols(symbols))
        for way in WAYS:
            result.ways.append(Way(way.name, False, f"not tried: {error.what}"))
        result.reasons.append(error.what)
        return
    target = targets.find(function, symbols) if function else None
    found = {way.name: _fire(result, way, symbols, try_fast) for way in WAYS}
    walks = _choose(result, found)
    unwinder = next((UNWINDERS[trial.probe.unwinder] for trial in found.values() if trial), "")
    if result.method:
        text = f"works by {unwinder}" if walks else next(iter(result.reasons), "")
        result.add("manual walk", walks, text)
    result.add("unwinder", None, unwinder or _unwinder_by_symbols(symbols))
    if target:
        _try_function(result, target, symbols)


def _fire(
    result: Survey, way: AttachWay, symbols: Kallsyms, try_fast: TryFast | None
) -> Trial | None:
    """Try one way and append its result; return the canary's result if the way works."""
    method = Method.MANUAL if way.name in FUNCTIONS else Method.HELPER

    def then(probe: Probe, call: Callable[[], object]) -> None:
        if try_fast and way.way in HOT_PROGRAMS and probe.method == Method.MANUAL:
            works, text = try_fast(probe, symbols, call)
            result.add(f"fast programs by {way.way}", works or None, text)
        if way.name in (BY_KPROBE, BY_FENTRY):
            result.add(f"nested hits by {way.way}", *_nested(probe))

    try:
        trial = canary.fire(way.way, way.place, symbols, method=method, then=then)
    except KwalkError as error:
        result.ways.append(Way(way.name, False, error.what, error.hint))
        return None
    works = trial.fired == trial.calls
    text = f"{'works' if works else 'attaches, but does not run'}: {trial.text}"
    hint = "" if works else "`dmesg` may tell why; kwalk takes another way where it can."
    result.ways.append(Way(way.name, works, text, hint, trial.fired, trial.calls))
    return trial if works else None


def _nested(probe: Probe) -> tuple[bool | None, str]:
    """Return whether hits are taken that come while the program is running, and a text."""
    if probe.by_kprobe:
        return None, "lost: the kernel refuses them to every program at a kprobe"
    if not probe.nested:
        return None, "lost: a second program for them takes the manual method"
    why = probe.nested.trial()
    return (None, f"lost: {why}") if why else (True, "taken by a second program")


def _choose(result: Survey, found: dict[str, Trial | None]) -> bool:
    """Set the method and way that kwalk would use for functions; return whether it walks."""
    working = [(name, trial) for name in FUNCTIONS if (trial := found[name])]
    preferred = FUNCTIONS[: FUNCTIONS.index(working[0][0])] if working else FUNCTIONS
    result.reasons += [
        f"not by {kind.way}: {way.text}"
        for kind, way in zip(WAYS, result.ways, strict=True)
        if kind.name in preferred
    ]
    if not working:
        return False
    trial = working[0][1]
    walks = trial.probe.method == Method.MANUAL
    result.method, result.attach = ("manual" if walks else "helper"), trial.probe.attach
    result.reasons += trial.probe.notes
    # The helper needs a kprobe's registers to start at the function.
    if not walks and any(name == BY_KPROBE for name, _ in working):
        result.attach = "kprobe"
    return walks


def _try_function(result: Survey, target: Target, symbols: Kallsyms) -> None:
    """Attach to the user's function and detach at once, whether it was called or not."""
    options = ProbeOptions(Method.MANUAL, ring_bytes=1 << 16)
    for way in ("fentry", "kprobe"):
        name = f"{target.name} by {way}"
        try:
            probe = open_probe(Selection.one(target), symbols, options._replace(attach=way))
        except KwalkError as error:
            result.add(name, False, error.what)
        else:
            probe.close()
            result.add(name, True, "can be attached")


def _unwinder_by_symbols(symbols: Kallsyms) -> str:
    known = here().unwinder_symbols.items()
    found = (unwinder for unwinder, name in known if symbols.address(name))
    return UNWINDERS[next(found, Unwinder.NONE)]
