# SPDX-License-Identifier: MIT
"""Features of the running kernel, by its symbols and files; no version is compared."""

from __future__ import annotations

import os
from pathlib import Path

from kwalk.errors import NotSupported
from kwalk.kernel.capabilities import unreadable
from kwalk.kernel.kallsyms import Kallsyms

KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")


def check_kernel(symbols: Kallsyms) -> None:
    """Raise NotSupported if the kernel lacks a BPF helper that all of kwalk's programs need."""
    if not has_loops(symbols):
        raise NotSupported(
            f"the BPF of this kernel ({os.uname().release}) is too old: it has no bpf_loop()",
            "Kernels have it since 5.17. `kwalk lab` traces in a virtual machine with a newer one.",
        )


def has_loops(symbols: Kallsyms) -> bool:
    """Whether the kernel's BPF has bpf_loop() (e6f2dd0f8067, "bpf: Add bpf_loop helper")."""
    return bool(symbols.address("bpf_loop"))


def no_fentry(symbols: Kallsyms) -> str:
    """Return why the kernel attaches no trampolines to functions; "" if it does."""
    if symbols.address("register_ftrace_direct"):  # kernel/trace/ftrace.c
        return ""
    return "this kernel has no fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)"


def no_kprobes(symbols: Kallsyms) -> str:
    """Return why BPF programs cannot be attached to kprobes; "" if they can."""
    if not (why := unreadable(KPROBE_PMU)):
        return ""
    if not symbols.address("register_kprobe"):
        return "this kernel has no kprobes (CONFIG_KPROBES)"
    if not symbols.address("perf_kprobe_init"):
        return "this kernel has no kprobes for programs (CONFIG_KPROBE_EVENTS)"
    return f"{KPROBE_PMU} cannot be read ({why}): sysfs has to be mounted"
