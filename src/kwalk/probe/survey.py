# SPDX-License-Identifier: MIT
"""What this kernel offers to kwalk, found out by trying; no version is ever compared."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.kernel import access
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import lib
from kwalk.probe import target as targets
from kwalk.probe.attach import has_multi
from kwalk.probe.options import ProbeOptions
from kwalk.probe.permitted import permitted
from kwalk.probe.probe import open_probe
from kwalk.probe.selection import Selection
from kwalk.transport.abi import Method, Unwinder

JIT = Path("/proc/sys/net/core/bpf_jit_enable")
# Rarely called and in every kernel: a probe there for a moment disturbs nobody.
TRIAL_FUNCTIONS = ("kernel_restart", "ksys_sync_helper", "do_exit")
UNWINDERS = {
    Unwinder.NONE: "none that kwalk knows",
    Unwinder.FRAME_POINTER: "frame pointers",
    Unwinder.ORC: "ORC",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :param ok: Whether it serves kwalk; None where it decides nothing.
    :param text: What was found, or why not.
    """

    name: str
    ok: bool | None
    text: str


@dataclass
class Survey:
    """All findings, and what follows from them.

    :param method: ``manual`` or ``helper``, "" if tracing is impossible.
    :param attach: ``fentry`` or ``kprobe``, likewise.
    :param reasons: Why not the better ones; for an impossible trace, why.
    """

    findings: list[Finding] = field(default_factory=list)
    method: str = ""
    attach: str = ""
    reasons: list[str] = field(default_factory=list)

    def add(self, name: str, ok: bool | None, text: str) -> None:
        """Append a finding."""
        self.findings.append(Finding(name, ok, text))


def survey(function: str | None = None) -> Survey:
    """Look at the machine; attach to ``function`` (or a quiet one) for a moment, each way.

    :raises UsageError: if ``function`` is given and cannot be traced for its own sake.
    """
    result = Survey()
    result.add("kernel", None, f"{platform.release()} {platform.machine()}")
    missing = access.missing_capabilities()
    result.add("privileges", not missing, f"lacks {', '.join(missing)}" if missing else "enough")
    for name, may, text in permitted():
        result.add(name, may, text)
    mode = access.lockdown()
    result.add(
        "lockdown",
        mode != "confidentiality" if mode else None,
        mode or "unknown: no securityfs, or none",
    )
    why = access.unreadable(access.BTF)
    btf = str(access.BTF)
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
    why = access.no_kprobes(symbols)
    result.add("kprobes", not why, why or "yes")
    loops = access.has_loops(symbols)
    result.add("BPF loops", loops, "yes (bpf_loop)" if loops else "no: this kernel is too old")
    multi = has_multi(symbols)
    result.add("kprobe.multi", None, "yes" if multi else "absent (CONFIG_FPROBE)")
    typed = symbols.address("bpf_rdonly_cast")
    result.add(
        "typed loads",
        None,
        "yes (bpf_rdonly_cast)" if typed else "no: bpf_probe_read_kernel instead, slower",
    )
    _try_attaching(result, symbols, function)
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


def _try_attaching(result: Survey, symbols: Kallsyms, function: str | None) -> None:
    name = function or next((n for n in TRIAL_FUNCTIONS if symbols.address(n)), "")
    try:
        access.check_access()
        access.check_kernel(symbols)
        lib()
    except KwalkError as error:
        result.add("fentry", False, "not tried")
        result.add("unwinder", None, _unwinder_by_symbols(symbols))
        result.reasons.append(error.what)
        return
    target = targets.find(name, symbols)
    unwinder = ""
    for way in ("fentry", "kprobe"):
        try:
            probe = open_probe(
                Selection.one(target), symbols, ProbeOptions(Method.MANUAL, way, ring_bytes=1 << 16)
            )
        except KwalkError as error:
            result.add(f"attach by {way}", False, error.what)
            result.reasons.append(error.what)
            continue
        probe.obj.close()
        unwinder = UNWINDERS[probe.unwinder]
        walks = probe.method == Method.MANUAL
        result.add(f"attach by {way}", True, f"works, tried on {target.name}")
        if not result.method:
            result.method, result.attach = ("manual" if walks else "helper"), way
            result.reasons += probe.notes
            if not walks:  # the helper starts best from a kprobe's registers
                result.attach = "kprobe"
            why = probe.notes[0] if probe.notes else ""
            result.add("manual walk", walks, "works with this kernel's tables" if walks else why)
    result.add("unwinder", None, unwinder or _unwinder_by_symbols(symbols))


def _unwinder_by_symbols(symbols: Kallsyms) -> str:
    return UNWINDERS[
        Unwinder.ORC
        if symbols.address("__start_orc_unwind")
        else Unwinder.FRAME_POINTER
        if symbols.address("update_stack_state")
        else Unwinder.NONE
    ]
