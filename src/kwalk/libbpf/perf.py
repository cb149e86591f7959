# SPDX-License-Identifier: MIT
"""Perf events that a program can be attached to."""

from __future__ import annotations

import ctypes
import os
import struct

from kwalk.libbpf import LibbpfError

_PERF_EVENT_OPEN = {"x86_64": 298}  # arch/x86/entry/syscalls/syscall_64.tbl
# include/uapi/linux/perf_event.h: struct perf_event_attr
_TYPE_SOFTWARE, _CPU_CLOCK = 1, 0
_FREQ = 1 << 10
_ATTR_BYTES = 112
_CLOSE_ON_EXEC = 1 << 3


def open_cpu_clock(cpu: int, frequency: int) -> int:
    """Return a new perf event that comes ``frequency`` times a second while ``cpu`` runs.

    :raises LibbpfError: if the kernel refuses it.
    """
    attr = struct.pack(
        "<IIQQQQQ", _TYPE_SOFTWARE, _ATTR_BYTES, _CPU_CLOCK, frequency, 0, 0, _FREQ
    ).ljust(_ATTR_BYTES, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    number = _PERF_EVENT_OPEN[os.uname().machine]
    any_task, no_group = -1, -1
    fd = libc.syscall(number, attr, any_task, cpu, no_group, ctypes.c_ulong(_CLOSE_ON_EXEC))
    if fd < 0:
        raise LibbpfError(f"cannot open a perf event on CPU {cpu}", ctypes.get_errno())
    return int(fd)
