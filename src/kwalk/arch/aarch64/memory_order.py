# SPDX-License-Identifier: MIT
"""Memory barriers of arm64, which lets other CPUs see loads and stores in any order.

Python has no barrier instruction. A semaphore of the C library serves as one: ``sem_post()`` and
``sem_trywait()`` synchronize memory (POSIX, XBD 4.12 "Memory Synchronization"), and they do it
without another thread, too. On arm64:

- ``sem_post()`` of glibc ends with a compare-and-swap that is a release, ``sem_trywait()`` with one
  that is an acquire (nptl/sem_post.c, nptl/sem_waitcommon.c): STLXR or CASL, then LDAXR or CASA.
- The Arm architecture orders everything before a release before it, a release before each acquire
  behind it in the program, and an acquire before everything behind it ("Barrier-ordered-before" in
  the Arm ARM, DDI 0487, B2.3; ``po; [L]``, ``[L]; po; [A]`` and ``[A]; po`` in herdtools'
  aarch64.cat). LDAPR, the weaker acquire, is a plain load and not part of a compare-and-swap.
- musl has STLXR and LDAXR in the same places (src/thread/sem_post.c, arch/aarch64/atomic_arch.h),
  or DMB around both in older versions.

So the pair is a full barrier. A mutex would not do: glibc locks a private one by plain stores while
the process has one thread (``lll_mutex_lock_optimized()`` in nptl/pthread_mutex_lock.c).
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _semaphore() -> tuple[Any, Any, Any]:
    """Return a semaphore of value 0, ``sem_post`` and ``sem_trywait``."""
    from kwalk.arch.aarch64._abi import ffi

    libc: Any = ffi.dlopen(None)
    made = ffi.new("sem_t *")
    if libc.sem_init(made, 0, 0):
        raise OSError(ffi.errno, "sem_init() failed")
    return made, libc.sem_post, libc.sem_trywait


def acquire() -> None:
    """Order loads before the call before loads and stores behind it.

    Threads may call it at once: each takes as often as it posts, behind its own post, so that the
    value is above 0 for whichever takes.
    """
    semaphore, post, take = _semaphore()
    if post(semaphore) or take(semaphore):
        raise RuntimeError("a semaphore that was posted cannot be taken")


def release() -> None:
    """Order loads and stores before the call before stores behind it."""
    acquire()
