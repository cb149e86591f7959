# SPDX-License-Identifier: MIT
"""Wake-ups, waits and task switches, kernel threads and work items."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import tty
from collections.abc import Iterator
from functools import partial

from workloads.running import children, in_threads, pinned, repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, often, path


@contextlib.contextmanager
def terminal() -> Iterator[Burst]:
    """Write to a pseudo terminal, which passes data on by a work item."""
    master, slave = os.openpty()
    tty.setraw(slave)

    def exchange() -> None:
        os.write(master, b"x")
        os.read(slave, 10)

    try:
        yield repeat(exchange)
    finally:
        os.close(master)
        os.close(slave)


@contextlib.contextmanager
def migrations() -> Iterator[Burst]:
    """Migrate a process between CPUs."""

    def move() -> None:
        os.sched_setaffinity(0, {0})
        os.sched_setaffinity(0, {1})

    with children(move) as burst:
        yield burst


@contextlib.contextmanager
def handovers() -> Iterator[Burst]:
    """Let two processes wake each other in turn."""
    left, right = socket.socketpair()

    def serve(sock: socket.socket) -> None:
        sock.recv(1)
        sock.send(b"x")

    with left, right:
        left.send(b"x")
        workers = (pinned(cpu, partial(serve, s)) for cpu, s in enumerate((left, right)))
        with children(*workers) as burst:
            yield burst


@contextlib.contextmanager
def locks() -> Iterator[Burst]:
    """Let two threads wait for each other's locks."""

    def work() -> None:
        one, other = threading.Semaphore(0), threading.Semaphore(0)

        def ping() -> None:
            one.release()
            other.acquire()

        def pong() -> None:
            one.acquire()
            other.release()

        in_threads(ping, pong)()

    with children(work) as burst:
        yield burst


@contextlib.contextmanager
def polled() -> Iterator[Burst]:
    """Write to a pipe that is watched by epoll."""
    reader, writer = os.pipe()

    def exchange() -> None:
        os.write(writer, b"x")
        os.read(reader, 10)

    with select.epoll() as poll:
        poll.register(reader, select.EPOLLIN | select.EPOLLET)
        try:
            yield repeat(exchange)
        finally:
            os.close(reader)
            os.close(writer)


ALL = (
    Surroundings(
        "work-item",
        ("flush_to_ldisc",),
        terminal,
        often(
            path("flush_to_ldisc", "process_one_work", "worker_thread", "kthread"),
            path("kthread", root="ret_from_fork*"),
        ),
    ),
    Surroundings(
        "kernel-thread",
        ("migration_cpu_stop",),
        migrations,
        often(
            path(
                "migration_cpu_stop",
                "cpu_stopper_thread",
                "smpboot_thread_fn",
                "kthread",
                root="ret_from_fork*",
            )
        ),
    ),
    Surroundings(
        "scheduler",
        ("update_curr",),
        handovers,
        often(path("update_curr", "__schedule", "schedule", root=SYSCALL)),
    ),
    Surroundings(
        "wake-up",
        ("try_to_wake_up",),
        handovers,
        often(path("try_to_wake_up", "__wake_up_common", "__sys_*", root=SYSCALL)),
    ),
    Surroundings(
        "futex",
        ("futex_wake",),
        locks,
        often(path("futex_wake", "do_futex", root=SYSCALL)),
    ),
    Surroundings(
        "indirect-call",
        ("ep_poll_callback",),
        polled,
        often(path("ep_poll_callback", "__wake_up_common", "vfs_write", root=SYSCALL)),
    ),
)
