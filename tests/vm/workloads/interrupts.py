# SPDX-License-Identifier: MIT
"""Interrupts and softirqs, over user code, kernel code and the idle task."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial

from machine import HERE

from workloads.running import SECONDS, children, in_threads, libc, machine_code, pinned
from workloads.surroundings import (
    Burst,
    Surroundings,
    both,
    often,
    over_kernel,
    path,
)

_PRIVATE_EXPEDITED, _REGISTER = 8, 16


@contextlib.contextmanager
def user_spins() -> Iterator[Burst]:
    """Keep both CPUs busy in user code, with a timer's interrupt every millisecond."""
    spin = machine_code(HERE.code.spin)

    def work() -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        if not signal.getitimer(signal.ITIMER_REAL)[1]:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        spin(1 << 24)

    with children(*(pinned(cpu, work) for cpu in range(2))) as burst:
        yield burst


@contextlib.contextmanager
def kernel_spins() -> Iterator[Burst]:
    """Keep both CPUs busy in system calls."""
    with children(*_kernel_spinners()) as burst:
        yield burst


def _kernel_spinners() -> list[Callable[[], object]]:
    buffer = mmap.mmap(-1, 1 << 18)
    buffer.write(bytes(1 << 18))

    def work() -> None:
        with open("/dev/zero", "rb", buffering=0) as file:
            for _ in range(100):
                file.readinto(buffer)

    return [pinned(cpu, work) for cpu in range(2)]


@contextlib.contextmanager
def timeouts() -> Iterator[Burst]:
    """Let receivers time out, to be woken by the timer wheel."""
    with children(_time_out) as burst:
        yield burst


@contextlib.contextmanager
def busy_timeouts() -> Iterator[Burst]:
    """Let receivers time out while both CPUs are busy in system calls."""
    with children(_time_out, *_kernel_spinners()) as burst:
        yield burst


def _time_out() -> None:
    """Wait for data that does not come, in 16 threads."""

    def receive(sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            sock.recv(1)

    socks = [sock for _ in range(8) for sock in socket.socketpair()]
    for sock in socks:
        timeout = struct.pack("ll", 0, 1000)  # microseconds; a tick at least
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    in_threads(*(partial(receive, sock) for sock in socks))()


@contextlib.contextmanager
def naps() -> Iterator[Burst]:
    """Sleep briefly on both CPUs, otherwise idle: high-resolution timers."""

    def nap() -> None:
        time.sleep(0.0005)

    actions = [in_threads(*[pinned(cpu, nap)] * 3) for cpu in range(2)]
    with children(*actions) as burst:
        yield burst


@contextlib.contextmanager
def barriers() -> Iterator[Burst]:
    """Interrupt a thread on the other CPU by membarrier()."""
    spin = machine_code(HERE.code.spin_politely)

    def work() -> None:
        libc.syscall(HERE.membarrier, _REGISTER, 0, 0)
        in_threads(
            pinned(0, lambda: libc.syscall(HERE.membarrier, _PRIVATE_EXPEDITED, 0, 0)),
            pinned(1, lambda: spin(1 << 20)),
        )()

    with children(work) as burst:
        yield burst


@contextlib.contextmanager
def missing_files() -> Iterator[Burst]:
    """Look up new names, so that the host's file server answers."""
    numbers = iter(range(1 << 30))
    place = f"/usr/include/no-{os.getpid()}-{time.monotonic_ns()}-"

    def burst() -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            os.access(f"{place}{next(numbers)}", os.F_OK)

    yield burst


ALL = (
    Surroundings(
        "interrupt-over-user",
        ("hrtimer_interrupt",),
        user_spins,
        often(path("hrtimer_interrupt", root=HERE.timer), share=0.5),
    ),
    Surroundings(
        "interrupt-over-kernel",
        ("update_process_times",),
        kernel_spins,
        often(both(over_kernel(HERE.timer), path(HERE.timer, "vfs_read*"))),
    ),
    Surroundings(
        "softirq-over-interrupt",
        ("handle_softirqs", "__do_softirq"),
        busy_timeouts,
        often(both(over_kernel(HERE.timer), path("*irq_exit_rcu", HERE.timer))),
    ),
    Surroundings(
        "timer-wheel",
        ("process_timeout",),
        timeouts,
        often(path("process_timeout", "call_timer_fn", "run_timer_softirq", HERE.timer)),
    ),
    Surroundings(
        "high-resolution-timer",
        ("hrtimer_wakeup",),
        naps,
        often(path("hrtimer_wakeup", "__hrtimer_run_queues", "hrtimer_interrupt", HERE.timer)),
    ),
    Surroundings(
        "idle-tasks",
        ("tick_irq_enter",),
        naps,
        often(
            path("tick_irq_enter", HERE.timer, "do_idle", "rest_init", "start_kernel"),
            path("tick_irq_enter", HERE.timer, "do_idle", HERE.idle),
        ),
    ),
    Surroundings(
        "inter-processor-interrupt",
        ("ipi_mb",),
        barriers,
        often(path("ipi_mb", HERE.call_interrupt)),
    ),
    Surroundings(
        "device-interrupt",
        ("vring_interrupt",),
        missing_files,
        often(path("vring_interrupt", HERE.device_interrupt)),
    ),
)
