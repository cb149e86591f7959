# SPDX-License-Identifier: MIT
"""Whether the kernel preempts tasks while they are in kernel code, BPF programs included."""

from __future__ import annotations

import os

MODE_SYMBOL = "preempt_dynamic_mode"
"""``int`` of kernels with CONFIG_PREEMPT_DYNAMIC (kernel/sched/core.c)."""
# enum there: none 0, voluntary 1, full 2, lazy 3 (since 6.13). Lazily, a task is preempted by one
# of a higher class at once, and by its like at the second tick.
_PREEMPTING = (2, 3)
_DYNAMIC = "PREEMPT_DYNAMIC"
# init/Makefile: preempt-flag; "" for CONFIG_PREEMPT_NONE and CONFIG_PREEMPT_VOLUNTARY.
_ALWAYS = {"PREEMPT", "PREEMPT_RT", "PREEMPT_LAZY"}


def preempts(mode: int | None, version: str | None = None) -> bool:
    """Return whether the kernel preempts tasks in the kernel; True if it cannot be told.

    :param mode: Value of ``MODE_SYMBOL``; None if that is unknown.
    :param version: Output of ``uname -v``; None for this kernel's.
    """
    words = (os.uname().version if version is None else version).split()
    if _DYNAMIC in words:
        return mode is None or mode in _PREEMPTING
    return not _ALWAYS.isdisjoint(words)
