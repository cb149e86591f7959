# SPDX-License-Identifier: MIT
"""Reader of a BPF ring buffer, in batches, from its memory.

libbpf calls back once per record, which in Python costs more than the walk; here one pass over the
mapped pages takes all records. They have one size and none is discarded, so that a run of them is a
table. kernel/bpf/ringbuf.c has the layout: a consumer page, which user space writes, a
producer page, then the data, mapped twice in a row so that no record wraps.

The kernel publishes positions and lengths with a release; the reader acquires them before it reads
records, and gives space back with a release.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator

from kwalk.arch import here

PAGE = mmap.PAGESIZE
HEADER = 8
CHUNK = 1 << 18


class Ring:
    """A mapped ring buffer.

    :param fd: The map's file descriptor; it may be closed afterwards.
    :param size: Its ``max_entries``: bytes, a power of two and a multiple of the page size.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        self._own = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._shared = mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self._arch = here()
        # Each item of these views is read or written by a single 64-bit (32-bit) access.
        self._consumer = memoryview(self._own).cast("Q")
        self._producer = memoryview(self._shared)[:PAGE].cast("Q")
        self._data = memoryview(self._shared)[PAGE:]
        self._lengths = self._data.cast("I")

    def batch(self, size: int, complete: bool = False) -> Iterator[memoryview]:
        """Yield runs of committed records, each record behind its header of 8 bytes.

        A view is valid until the next one is requested. Space returns to the kernel after each run,
        and when the caller stops early.

        :param size: Bytes of every record, a multiple of 8.
        :param complete: Wait for records that programs are still writing (microseconds), so that
            every record reserved before the call is read.
        """
        acquire, release = self._arch.acquire, self._arch.release
        step = size + HEADER
        whole = size.to_bytes(4, "little") * (CHUNK // step)
        position = self._consumer[0]
        stop = self._producer[0]
        acquire()
        try:
            while position < stop:
                start = position & (self._size - 1)
                number = min((stop - position) // step, CHUNK // step)
                end = start + number * step
                # A copy: programs commit records meanwhile. One comparison of bytes, at a third of
                # the price of numbers.
                lengths = self._lengths[start >> 2 : end >> 2 : step >> 2].tobytes()
                if lengths != whole[: 4 * number]:
                    each = enumerate(memoryview(lengths).cast("I"))
                    number = next(i for i, length in each if length != size)
                    end = start + number * step
                if number:
                    acquire()
                    position += number * step
                    yield self._data[start:end]
                    release()
                    self._consumer[0] = position
                elif complete:
                    time.sleep(0.0002)
                else:
                    break
        finally:
            release()
            self._consumer[0] = position

    def close(self) -> None:
        """Unmap the ring."""
        for view in (self._producer, self._lengths, self._data):
            view.release()
        try:
            self._shared.close()
        except BufferError:
            return  # An error in the middle of a batch: the pages go when it has been dealt with.
        self._consumer.release()
        self._own.close()
