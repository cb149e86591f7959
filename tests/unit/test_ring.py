# SPDX-License-Identifier: MIT
"""The ring's reader, on memory laid out as kernel/bpf/ringbuf.c lays it out."""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.transport.ring import CHUNK, PAGE, Ring

# include/uapi/linux/bpf.h: BPF_RINGBUF_HDR_SZ, BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
HEADER, BUSY, DISCARD = 8, 1 << 31, 1 << 30
SIZE = 1 << 20


class Kernel:
    """The writer's side: a consumer page, a producer page, and the data twice."""

    def __init__(self, size: int, start: int = 0) -> None:
        self.size = size
        self.fd = os.memfd_create("ring")
        os.truncate(self.fd, 2 * PAGE + 2 * size)
        self.memory = mmap.mmap(self.fd, 2 * PAGE + 2 * size)
        self.consumer = self.produced = start

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)

    @property
    def consumer(self) -> int:
        return struct.unpack_from("<Q", self.memory, 0)[0]

    @consumer.setter
    def consumer(self, position: int) -> None:
        struct.pack_into("<Q", self.memory, 0, position)

    @property
    def produced(self) -> int:
        return struct.unpack_from("<Q", self.memory, PAGE)[0]

    @produced.setter
    def produced(self, position: int) -> None:
        struct.pack_into("<Q", self.memory, PAGE, position)

    def write(self, position: int, data: bytes) -> None:
        start = position % self.size
        first = data[: self.size - start]
        for at, part in ((start, first), (0, data[len(first) :])):
            for copy in (2 * PAGE, 2 * PAGE + self.size):
                self.memory[copy + at : copy + at + len(part)] = part

    def put(self, payload: bytes, flags: int = 0) -> int:
        """Reserve, fill and commit a record; return its position."""
        position = self.produced
        end = position + (HEADER + len(payload) + 7) // 8 * 8
        assert end - self.consumer <= self.size, "the kernel would have refused it"
        # Behind the length stands the record's page number, which is no reader's business.
        self.write(position, struct.pack("<II", len(payload) | flags, 0xABCD) + payload)
        self.produced = end
        return position

    def commit(self, position: int, payload: bytes) -> None:
        """End a busy record."""
        self.write(position, struct.pack("<I", len(payload)))


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel(SIZE)
    yield made
    made.close()


@pytest.fixture
def ring(kernel: Kernel) -> Iterator[Ring]:
    made = Ring(kernel.fd, SIZE)
    yield made
    made.close()


def read(ring: Ring, complete: bool = False) -> list[bytes]:
    return [bytes(view) for view in ring.batch(complete)]


RECORDS = st.lists(st.tuples(st.binary(max_size=900), st.sampled_from((0, 0, 0, DISCARD))))


@given(st.integers(0, 1 << 40).map(lambda n: n * 8), st.lists(RECORDS, max_size=8))
def test_every_record_comes_once_and_in_order(start: int, batches: list) -> None:
    kernel = Kernel(PAGE, start)  # small: most runs go round its end several times
    ring = Ring(kernel.fd, PAGE)
    for records in batches:
        expected = []
        for payload, flags in records:
            if kernel.produced + HEADER + len(payload) + 7 - kernel.consumer > PAGE:
                assert read(ring) == expected
                expected = []
            kernel.put(payload, flags)
            if not flags:
                expected.append(payload)
        assert read(ring) == expected
        assert kernel.consumer == kernel.produced
    ring.close()
    kernel.close()


def test_nothing_is_read_past_a_record_still_being_written(kernel: Kernel, ring: Ring) -> None:
    kernel.put(b"before")
    busy = kernel.put(b"????", BUSY)
    kernel.put(b"behind")
    assert read(ring) == [b"before"]
    assert read(ring) == []
    assert kernel.consumer == busy
    kernel.commit(busy, b"done")
    assert read(ring) == [b"????", b"behind"]


def test_a_complete_batch_waits_for_records_being_written(kernel: Kernel, ring: Ring) -> None:
    kernel.put(b"before")
    busy = kernel.put(b"in time", BUSY)
    kernel.put(b"behind")
    writer = threading.Thread(target=lambda: (time.sleep(0.05), kernel.commit(busy, b"in time")))
    writer.start()
    assert read(ring, complete=True) == [b"before", b"in time", b"behind"]
    writer.join()


def test_a_caller_that_stops_early_gets_the_rest_next_time(kernel: Kernel, ring: Ring) -> None:
    for payload in (b"one", b"two", b"three"):
        kernel.put(payload)
    for view in ring.batch():
        first = bytes(view)
        break
    view.release()
    assert first == b"one"
    assert kernel.consumer == HEADER + 8
    assert read(ring) == [b"two", b"three"]


def test_a_batch_ends_while_the_kernel_goes_on_writing(kernel: Kernel, ring: Ring) -> None:
    kernel.put(b"first")
    batch = ring.batch()
    assert bytes(next(batch)) == b"first"
    kernel.put(b"meanwhile")
    assert list(batch) == []
    assert read(ring) == [b"meanwhile"]


def test_space_goes_back_during_a_batch_but_never_under_a_record(
    kernel: Kernel, ring: Ring
) -> None:
    starts = [kernel.put(bytes([number]) * 10_000) for number in range(90)]
    free = []
    for number, view in enumerate(ring.batch()):
        assert set(view) == {number}
        assert kernel.consumer <= starts[number]
        free.append(kernel.consumer)
    assert starts[89] - free[89] <= CHUNK + 10_008
    assert len(set(free)) >= 3  # 900 kB, given back in pieces
    assert kernel.consumer == kernel.produced
