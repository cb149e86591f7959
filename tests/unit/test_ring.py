# SPDX-License-Identifier: MIT
"""The ring's reader, on memory laid out as kernel/bpf/ringbuf.c lays it out."""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.abi import BRIEF_BYTES, EVENT
from kwalk.arch import here
from kwalk.transport.ring import CHUNK, HEADER, PAGE, Ring

# include/uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT
BUSY = 1 << 31
SIZE = 1 << 20
RECORD = EVENT.size


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
        return int(struct.unpack_from("<Q", self.memory, 0)[0])

    @consumer.setter
    def consumer(self, position: int) -> None:
        struct.pack_into("<Q", self.memory, 0, position)

    @property
    def produced(self) -> int:
        return int(struct.unpack_from("<Q", self.memory, PAGE)[0])

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
        end = position + HEADER + len(payload)
        assert end - self.consumer <= self.size, "the kernel would have refused it"
        # Behind the length stands the record's page number, which is no reader's business.
        self.write(position, struct.pack("<II", len(payload) | flags, 0xABCD) + payload)
        self.produced = end
        return position

    def commit(self, position: int, size: int = RECORD) -> None:
        """End a busy record."""
        self.write(position, struct.pack("<I", size))


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


def payload(number: int, size: int = RECORD) -> bytes:
    return number.to_bytes(4, "little") * (size // 4)


def split(view: memoryview, size: int = RECORD) -> list[bytes]:
    """The payloads of a run of records."""
    step = size + HEADER
    assert len(view) > 0
    assert len(view) % step == 0
    return [bytes(view[at + HEADER : at + step]) for at in range(0, len(view), step)]


def read(ring: Ring, complete: bool = False, size: int = RECORD) -> list[bytes]:
    return [record for view in ring.batch(size, complete) for record in split(view, size)]


@given(
    st.integers(0, 1 << 40).map(lambda n: n * 8),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from((RECORD, BRIEF_BYTES)),
)
def test_records_come_once_and_in_order(start: int, batches: list[int], size: int) -> None:
    kernel = Kernel(PAGE, start)  # small: most runs go round its end several times
    ring = Ring(kernel.fd, PAGE)
    number = 0
    for records in batches:
        expected: list[bytes] = []
        for _ in range(records):
            if kernel.produced + HEADER + size - kernel.consumer > PAGE:
                assert read(ring, size=size) == expected
                expected = []
            kernel.put(payload(number, size))
            expected.append(payload(number, size))
            number += 1
        assert read(ring, size=size) == expected
        assert kernel.consumer == kernel.produced
    ring.close()
    kernel.close()


@given(st.integers(0, 1 << 20).map(lambda n: n * 8), st.lists(st.booleans(), max_size=73))
def test_records_that_are_being_written_hold_back_those_behind_them(
    start: int, busy: list[bool]
) -> None:
    kernel = Kernel(PAGE, start)
    ring = Ring(kernel.fd, PAGE)
    positions = [kernel.put(payload(n), BUSY * flag) for n, flag in enumerate(busy)]
    seen = read(ring)
    for number, position in enumerate(positions):
        if busy[number]:
            assert len(seen) == number
            assert kernel.consumer == position
            kernel.commit(position)
            seen += read(ring)
    assert seen == [payload(number) for number in range(len(busy))]
    assert kernel.consumer == kernel.produced
    ring.close()
    kernel.close()


def test_record_being_written_ends_the_batch(kernel: Kernel, ring: Ring) -> None:
    kernel.put(payload(1))
    busy = kernel.put(payload(2), BUSY)
    kernel.put(payload(3))
    assert read(ring) == [payload(1)]
    assert read(ring) == []
    assert kernel.consumer == busy
    kernel.commit(busy)
    assert read(ring) == [payload(2), payload(3)]


def test_positions_are_acquired_and_released(
    kernel: Kernel, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def note(barrier: str) -> Callable[[], None]:
        return lambda: seen.append((barrier, kernel.consumer))

    ordered = here()._replace(acquire=note("acquire"), release=note("release"))
    monkeypatch.setattr(ring, "_arch", ordered)
    kernel.put(payload(1))
    begun = kernel.consumer
    batch = ring.batch(RECORD)
    next(batch)
    # The producer's position, then the lengths of records.
    assert seen == [("acquire", begun)] * 2
    kernel.put(payload(2))
    assert not list(batch)
    assert seen[2:] == [("release", begun), ("release", kernel.consumer)]


def test_complete_batch_waits_for_records_being_written(kernel: Kernel, ring: Ring) -> None:
    kernel.put(payload(1))
    busy = [kernel.put(payload(2), BUSY), kernel.put(payload(3), BUSY)]
    kernel.put(payload(4))

    def write() -> None:
        for position in busy:
            time.sleep(0.05)
            kernel.commit(position)

    writer = threading.Thread(target=write)
    writer.start()
    assert read(ring, complete=True) == [payload(number) for number in (1, 2, 3, 4)]
    writer.join()
    assert kernel.consumer == kernel.produced


def test_record_committed_during_the_comparison_ends_no_batch(
    kernel: Kernel, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is busy in the first look at the lengths, and whole in any later one."""
    kernel.put(payload(1))
    busy = kernel.put(payload(2), BUSY)

    class Lengths:
        def __init__(self, view: memoryview) -> None:
            self.view = view

        def __getitem__(self, part: slice) -> Lengths:
            return Lengths(self.view[part])

        def __iter__(self) -> Iterator[int]:
            return iter(self.view)

        def tobytes(self) -> bytes:
            found = self.view.tobytes()
            kernel.commit(busy)
            return found

    with monkeypatch.context() as patch:
        patch.setattr(ring, "_lengths", Lengths(ring._lengths))
        assert read(ring) == [payload(1), payload(2)]


def test_run_continues_over_the_end_of_the_ring() -> None:
    kernel = Kernel(PAGE, 3 * PAGE - 40)  # inside the first record's payload
    ring = Ring(kernel.fd, PAGE)
    for number in range(3):
        kernel.put(payload(number))
    (view,) = ring.batch(RECORD)
    assert split(view) == [payload(0), payload(1), payload(2)]
    view.release()
    ring.close()
    kernel.close()


def test_batch_left_early_continues_next_time(kernel: Kernel, ring: Ring) -> None:
    many = CHUNK // (RECORD + HEADER) + 2
    for number in range(many):
        kernel.put(payload(number))
    for view in ring.batch(RECORD):
        first = split(view)
        break
    view.release()
    assert first[0] == payload(0)
    assert 0 < len(first) < many
    assert kernel.consumer == len(first) * (RECORD + HEADER)
    assert read(ring) == [payload(number) for number in range(len(first), many)]


def test_batch_ends_while_the_kernel_goes_on_writing(kernel: Kernel, ring: Ring) -> None:
    kernel.put(payload(1))
    batch = ring.batch(RECORD)
    assert split(next(batch)) == [payload(1)]
    kernel.put(payload(2))
    assert list(batch) == []
    assert read(ring) == [payload(2)]


def test_space_goes_back_during_a_batch_but_never_under_a_record(
    kernel: Kernel, ring: Ring
) -> None:
    step = RECORD + HEADER
    number = SIZE // step
    for index in range(number):
        kernel.put(payload(index))
    free, seen = [], 0
    for view in ring.batch(RECORD):
        assert kernel.consumer <= seen * step
        free.append(kernel.consumer)
        records = split(view)
        assert records == [payload(index) for index in range(seen, seen + len(records))]
        seen += len(records)
        assert seen * step - kernel.consumer <= CHUNK
    assert seen == number
    assert len(set(free)) >= 3  # a megabyte, given back in pieces
    assert kernel.consumer == kernel.produced


def test_error_in_the_middle_of_a_batch_is_not_masked(kernel: Kernel) -> None:
    for number in range(3):
        kernel.put(payload(number))

    def interrupted() -> None:
        with closing(Ring(kernel.fd, SIZE)) as ring:
            for _ in ring.batch(RECORD):
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        interrupted()
    assert kernel.consumer == kernel.produced == 3 * (RECORD + HEADER)
