# SPDX-License-Identifier: MIT
"""May this process trace at all: capabilities, lockdown, BTF, kprobes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kwalk.errors import NotSupported
from kwalk.kernel.kallsyms import Kallsyms

# include/uapi/linux/capability.h
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39}
BTF = Path("/sys/kernel/btf/vmlinux")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
STATUS = Path("/proc/self/status")
MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")


def missing_capabilities(status: str | None = None) -> list[str]:
    """Return the capabilities that tracing needs and this process lacks.

    :param status: The contents of ``/proc/self/status``.
    """
    text = STATUS.read_text() if status is None else status
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", text, re.MULTILINE)
    held = int(match.group(1), 16) if match else 0
    missing = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    # CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, and stands in for nothing once they are held.
    if "CAP_SYS_ADMIN" not in missing:
        return []
    return [name for name in missing if name != "CAP_SYS_ADMIN"]


def lockdown(text: str | None = None) -> str:
    """Return the lockdown mode: ``none``, ``integrity``, ``confidentiality``, or "" if unknown.

    :param text: The contents of ``/sys/kernel/security/lockdown``, such as ``[none] integrity``.
    """
    if text is None:
        try:
            text = LOCKDOWN.read_text()
        except OSError:
            return ""
    match = re.search(r"\[(\w+)\]", text)
    return match.group(1) if match else ""


def check_access() -> None:
    """Raise NotSupported, with the reason, where tracing cannot work on this machine."""
    missing = missing_capabilities()
    if missing:
        raise NotSupported(
            f"tracing needs {', '.join(missing)}, which this process lacks",
            "Run it as root (sudo), or see `kwalk lab` for a virtual machine that needs no root.",
        )
    if lockdown() == "confidentiality":
        raise NotSupported(
            "the kernel is locked down (confidentiality): it lets no program read its memory",
            "Boot without lockdown=confidentiality (Secure Boot may set it), "
            "or trace in a virtual machine with `kwalk lab`.",
        )
    if not os.access(BTF, os.R_OK):
        raise NotSupported(
            f"the kernel has no BTF ({BTF} cannot be read)",
            "kwalk needs a kernel built with CONFIG_DEBUG_INFO_BTF; distributions' kernels of the "
            "last years are. Or trace in a virtual machine with `kwalk lab`.",
        )


def check_kernel(symbols: Kallsyms) -> None:
    """Raise NotSupported where the kernel's BPF lacks what kwalk's programs are made of."""
    if not has_loops(symbols):
        raise NotSupported(
            f"the BPF of this kernel ({os.uname().release}) is too old: it has no bpf_loop()",
            "Kernels have it since 5.17. `kwalk lab` traces in a virtual machine with a newer one.",
        )


def has_loops(symbols: Kallsyms) -> bool:
    """Whether the kernel's BPF has bpf_loop() (e6f2dd0f8067, "bpf: Add bpf_loop helper")."""
    return bool(symbols.address("bpf_loop"))


def unwinder_frames(path: Path | None = None) -> int:
    """Return how many frames the kernel's own unwinder gives to a BPF program at most.

    ``kernel.perf_event_max_stack``: 127, unless somebody set it (kernel/bpf/stackmap.c).
    """
    try:
        return int((path or MAX_STACK).read_text())
    except (OSError, ValueError):
        return 127
