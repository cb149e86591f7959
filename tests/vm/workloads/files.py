# SPDX-License-Identifier: MIT
"""File systems on file systems, files called through pointers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from machine import HERE

from workloads.running import repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, both, often, path


@contextlib.contextmanager
def pipes() -> Iterator[Burst]:
    """Write to a pipe and read it back."""
    reader, writer = os.pipe()

    def exchange() -> None:
        os.write(writer, b"x")
        os.read(reader, 10)

    try:
        yield repeat(exchange)
    finally:
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def cold_reads() -> Iterator[Burst]:
    """Send a file of the root file system that was just dropped from the page cache."""
    with open(__file__, "rb") as file, open("/dev/null", "wb") as null:
        fd, sink = file.fileno(), null.fileno()

        def read() -> None:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.sendfile(sink, fd, 0, 100)

        yield repeat(read)


@contextlib.contextmanager
def replaced() -> Iterator[Burst]:
    """Replace open files by others: the old ones are released on the way back to user code."""
    place = os.dup(0)

    def replace() -> None:
        fd = os.open("/dev/null", os.O_RDONLY)
        os.dup2(fd, place)
        os.close(fd)

    try:
        yield repeat(replace)
    finally:
        os.close(place)


ALL = (
    Surroundings(
        "deep-file-system",
        ("virtqueue_add_sgs",),
        cold_reads,
        often(
            both(
                lambda stack: len(stack) >= 20,
                path("p9_client_read*", "*splice*", root=SYSCALL),
            ),
        ),
    ),
    Surroundings(
        "pipe-write",
        ("pipe_write", "anon_pipe_write"),
        pipes,
        often(path("vfs_write", "ksys_write", root=SYSCALL)),
    ),
    Surroundings(
        "way-back-to-user",
        ("task_work_run",),
        replaced,
        often(path("task_work_run", HERE.syscall_exit, root=SYSCALL)),
    ),
)
