# SPDX-License-Identifier: MIT
"""Memory barriers of x86-64.

The processor delays stores past later loads, and reorders nothing else (Intel SDM volume 3, 9.2.2
"Memory Ordering in P6 and More Recent Processor Families"). So a load is an acquire and a store a
release without a further instruction (``smp_load_acquire()`` and ``smp_store_release()`` in
arch/x86/include/asm/barrier.h). Python executes the memory accesses before a call before the call.
"""

from __future__ import annotations


def acquire() -> None:
    """Order loads before the call before loads and stores behind it: no instruction is needed."""


def release() -> None:
    """Order loads and stores before the call before stores behind it: no instruction is needed."""
