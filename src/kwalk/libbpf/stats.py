# SPDX-License-Identifier: MIT
"""Run time of BPF programs from the kernel's statistics (``kernel.bpf_stats_enabled``)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from kwalk.libbpf import check, ffi, lib
from kwalk.libbpf.object import object_info

_RUN_TIME = 0  # enum bpf_stats_type
# include/uapi/linux/bpf.h: run_time_ns and run_cnt of struct bpf_prog_info
_COST = 192

# Program id -> run time in nanoseconds, runs.
Costs = dict[int, tuple[int, int]]


@contextmanager
def measured() -> Iterator[None]:
    """Enable the kernel's run-time statistics, which add a little to the cost of each run.

    :raises LibbpfError: if the kernel refuses.
    """
    fd = check(lib().bpf_enable_stats(_RUN_TIME), "the kernel does not measure BPF programs")
    try:
        yield
    finally:
        os.close(fd)


def ids() -> Iterator[int]:
    """Iterate over the ids of all loaded programs; yields none without CAP_SYS_ADMIN."""
    number = ffi().new("__u32 *")
    while lib().bpf_prog_get_next_id(number[0], number) == 0:
        yield int(number[0])


def programs() -> Costs:
    """Return the run time and runs of every loaded program."""
    costs = {}
    for number in ids():
        fd = lib().bpf_prog_get_fd_by_id(number)
        if fd < 0:
            continue  # unloaded since
        try:
            info = object_info(fd, _COST + 16)
        finally:
            os.close(fd)
        if len(info) == _COST + 16:
            costs[number] = struct.unpack_from("<QQ", info, _COST)
    return costs


def of_program(info: bytes) -> tuple[int, int]:
    """Return run time in nanoseconds and runs from a ``struct bpf_prog_info``."""
    return struct.unpack_from("<QQ", info, _COST) if len(info) >= _COST + 16 else (0, 0)


def since(before: Costs) -> Costs:
    """Return the run time and runs since then of the programs that have run since then."""
    costs = {}
    for number, (spent, runs) in programs().items():
        spent_before, runs_before = before.get(number, (0, 0))
        if runs > runs_before:
            costs[number] = spent - spent_before, runs - runs_before
    return costs


def per_event(before: Costs, after: Costs) -> int | None:
    """Return the nanoseconds per event of all new programs together; None if none has run.

    The number of events is the runs of the new program that ran most often.

    :param before: Programs that are not new.
    """
    new = [cost for number, cost in after.items() if number not in before]
    runs = max((runs for _, runs in new), default=0)
    return round(sum(time for time, _ in new) / runs) if runs else None
