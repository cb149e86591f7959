# SPDX-License-Identifier: MIT
"""Page faults, of user code and of the kernel's own, and the page allocator."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

from machine import HERE

from workloads.running import address_of, repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, often, over_kernel, path

_BYTES = 64 * mmap.PAGESIZE


def _area() -> mmap.mmap:
    area = mmap.mmap(-1, _BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # for a kernel without huge pages
        area.madvise(mmap.MADV_NOHUGEPAGE)
    return area


@contextlib.contextmanager
def touches() -> Iterator[Burst]:
    """Write to unmapped pages from user code."""
    area = _area()
    address = address_of(area)

    def touch() -> None:
        area.madvise(mmap.MADV_DONTNEED)
        ctypes.memset(address, 1, _BYTES)

    yield repeat(touch, most=10)


@contextlib.contextmanager
def kernel_touches() -> Iterator[Burst]:
    """Write to unmapped pages from a system call."""
    area = _area()
    fd = os.open("/dev/zero", os.O_RDONLY)

    def touch() -> None:
        area.madvise(mmap.MADV_DONTNEED)
        os.readv(fd, [area])

    try:
        yield repeat(touch, most=10)
    finally:
        os.close(fd)


ALL = (
    Surroundings(
        "page-fault",
        ("do_anonymous_page", "__handle_mm_fault"),
        touches,
        often(path("handle_mm_fault", HERE.fault_handler, root=HERE.fault), share=0.5),
    ),
    Surroundings(
        "page-fault-in-kernel",
        ("handle_mm_fault",),
        kernel_touches,
        often(over_kernel(HERE.fault), path(HERE.fault, "vfs_read*", root=SYSCALL)),
    ),
    Surroundings(
        "page-allocator",
        ("get_page_from_freelist",),
        touches,
        often(path("get_page_from_freelist", "__alloc_*", "handle_mm_fault", root=HERE.fault)),
    ),
)
