# SPDX-License-Identifier: MIT
"""Forms of loads: a repeated action, processes beside the test, threads in it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import forked
from workloads.surroundings import Burst

SECONDS = 0.4
_SA_SIGINFO = 4
libc = ctypes.CDLL(None, use_errno=True)


def repeat(action: Callable[[], object], most: int = 1100) -> Burst:
    """Return a burst that repeats ``action`` for some time, ``most`` times at most."""

    def burst() -> None:
        deadline = time.monotonic() + SECONDS
        for _ in range(most):
            action()
            if time.monotonic() > deadline:
                return

    return burst


@contextlib.contextmanager
def children(*actions: Callable[[], object]) -> Iterator[Burst]:
    """Yield a burst that lets each action repeat in a process of its own."""
    with contextlib.ExitStack() as stack:
        yield _resuming([stack.enter_context(_child(action)) for action in actions])


@contextlib.contextmanager
def _child(action: Callable[[], object]) -> Iterator[int]:
    def loop() -> None:
        while True:
            action()

    pid = forked.fork(loop)
    try:
        yield pid
    finally:
        forked.kill(pid)


@contextlib.contextmanager
def command(words: Sequence[str]) -> Iterator[Burst]:
    """Yield a burst that lets an endless command run."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        yield _resuming([process.pid])
    finally:
        process.kill()
        process.wait()


def _resuming(pids: list[int]) -> Burst:
    """Return a burst that lets processes run.

    Between bursts they are stopped: under emulation they would slow the tracer down too much.
    """

    def send(number: int) -> None:
        for pid in pids:
            os.kill(pid, number)

    def burst() -> None:
        send(signal.SIGCONT)
        time.sleep(SECONDS)
        send(signal.SIGSTOP)

    time.sleep(0.1)  # until they have begun
    send(signal.SIGSTOP)
    return burst


def in_threads(*actions: Callable[[], object]) -> Callable[[], None]:
    """Return an action that repeats each of ``actions`` forever, in threads."""

    def loop(action: Callable[[], object]) -> None:
        while True:
            action()

    def run() -> None:
        for action in actions[1:]:
            threading.Thread(target=loop, args=(action,), daemon=True).start()
        loop(actions[0])

    return run


def pinned(cpu: int, action: Callable[[], object]) -> Callable[[], object]:
    """Return ``action`` with its thread pinned to a CPU."""

    def run() -> object:
        if os.sched_getaffinity(0) != {cpu}:
            os.sched_setaffinity(0, {cpu})
        return action()

    return run


def machine_code(code: str) -> Callable[[int], int]:
    """Make a function of machine code, in hexadecimal; it runs without the GIL."""
    return ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)(address_of(executable(code)))


def executable(code: str) -> mmap.mmap:
    """Map machine code, in hexadecimal, for the rest of the process's life.

    It is a file's, whose pages the kernel makes visible to the instruction cache.
    """
    with open(os.memfd_create("code"), "r+b") as file:
        file.write(bytes.fromhex(code))
        file.truncate(mmap.PAGESIZE)
        access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        page = mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, access)
    _kept.append(page)
    return page


def handle(number: int, code: str) -> None:
    """Let a signal be handled by machine code: a function (number, siginfo_t *, ucontext_t *)."""
    # struct sigaction of the C library: handler, mask, flags, restorer
    action = struct.pack("P128xixxxxP", address_of(executable(code)), _SA_SIGINFO, 0)
    if libc.sigaction(number, action, None):
        raise OSError(ctypes.get_errno(), "sigaction")


def address_of(area: mmap.mmap) -> int:
    """Return the address of a mapping."""
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


_kept: list[mmap.mmap] = []
