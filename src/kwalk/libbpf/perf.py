# SPDX-License-Identifier: MIT
"""CPU-clock perf events to attach BPF programs to."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from kwalk.arch import here
from kwalk.libbpf import LibbpfError, ffi, system_call

# include/uapi/linux/perf_event.h: struct perf_event_attr
_TYPE_SOFTWARE, _CPU_CLOCK = 1, 0
_EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR, _FREQ = 1 << 5, 1 << 6, 1 << 10
_ATTR_BYTES = 112
_MAX_RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")
_CLOSE_ON_EXEC = 1 << 3


def open_cpu_clock(cpu: int, frequency: int) -> int:
    """Open a CPU-clock perf event; return its file descriptor.

    :param frequency: Samples per second.
    :raises LibbpfError: if the kernel refuses it.
    """
    any_task = -1
    fd = _open_clock(any_task, cpu, frequency, _FREQ)
    if fd < 0:
        number = ffi().errno
        error = LibbpfError(f"cannot open a perf event on CPU {cpu}", number)
        # perf_event_open() in kernel/events/core.c
        if number == errno.EINVAL and frequency > (most := _max_sample_rate()):
            error.hint = (
                f"The sysctl kernel.perf_event_max_sample_rate is {most:,}, less than the "
                f"requested {frequency:,}: the kernel lowers it when interrupts take long. "
                f"Sample less often, or: sysctl kernel.perf_event_max_sample_rate={frequency}."
            )
        raise error
    return fd


def refuses_all() -> bool:
    """Return whether the kernel denies this process even events on itself in user space.

    Only kernels with a distribution's patch do, for values of kernel.perf_event_paranoid that
    mainline does not have.
    """
    this_task, any_cpu = 0, -1
    fd = _open_clock(this_task, any_cpu, 0, _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR)
    if fd < 0:
        return bool(ffi().errno == errno.EACCES)
    os.close(fd)
    return False


def _open_clock(task: int, cpu: int, period: int, flags: int) -> int:
    """Return the file descriptor of a new event, or -1 with errno in ``ffi().errno``."""
    attr = struct.pack(
        "<IIQQQQQ", _TYPE_SOFTWARE, _ATTR_BYTES, _CPU_CLOCK, period, 0, 0, flags
    ).ljust(_ATTR_BYTES, b"\0")
    number, no_group = here().perf_event_open, -1
    return system_call(number, ffi().new("char[]", attr), task, cpu, no_group, _CLOSE_ON_EXEC)


def _max_sample_rate() -> int:
    try:
        return int(_MAX_RATE.read_text())
    except (OSError, ValueError):
        return 1 << 31  # unknown: no limit
