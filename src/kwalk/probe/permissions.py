# SPDX-License-Identifier: MIT
"""Permissions that only some ways of attaching need: perf events, tracefs, BTF of modules."""

from __future__ import annotations

import os
from collections.abc import Iterator

from kwalk.kernel import capabilities
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.perf import open_cpu_clock
from kwalk.probe.diagnose import reason
from kwalk.transport.counters import online_cpus


def permitted() -> Iterator[tuple[str, bool, str]]:
    """Try each permission; yield its name, whether this process has it, and a text."""
    try:
        os.close(open_cpu_clock(online_cpus()[0], 1))
        yield "perf events", True, "yes (kprobes, samples)"
    except LibbpfError as error:
        yield "perf events", False, reason("perf_event", error)
    why = capabilities.unreadable(capabilities.TRACING)
    need = "; CAP_DAC_READ_SEARCH reads it" if capabilities.lacks("CAP_DAC_READ_SEARCH") else ""
    text = f"{why}: no tracepoints of system calls{need}" if why else "can be read"
    yield "tracefs", not why, text
    if capabilities.lacks("CAP_SYS_ADMIN"):
        text = "no fentry in modules, and no cost of programs: this process lacks CAP_SYS_ADMIN"
        yield "types of modules", False, text
