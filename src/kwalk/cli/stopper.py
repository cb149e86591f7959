# SPDX-License-Identifier: MIT
"""Reasons to end tracing: a signal, a closed output, the end of the traced processes."""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

from kwalk.support.aborting import abort
from kwalk.support.outlet import STALLED_SECONDS

# timeout(1) signals the process and its group: two signals within this time are one.
_ONE_SIGNAL_SECONDS = 0.5


class Stopper:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag; its sleep also ends when stdout is closed.

    A second SIGINT or SIGTERM ends this process at once. SIGHUP stays ignored if it was (nohup); it
    never counts as the second signal, since terminals and systemd send it with others.

    :param output: Descriptor of the output, whose reader's end is a reason to stop; None is stdout,
        -1 a regular file.
    :ivar stopped: There was a reason to stop.
    :ivar interrupted: The reason was a signal.
    """

    def __init__(self, output: int | None = None) -> None:
        self._output = output

    def __enter__(self) -> Stopper:
        self.stopped = False
        self.interrupted = False
        self._asked: float | None = None  # time of the first SIGINT or SIGTERM
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_wakeup = signal.set_wakeup_fd(self._write)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._old = {number: signal.signal(number, self._stop) for number in numbers}
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        output = sys.stdout.fileno() if self._output is None else self._output
        if output >= 0:
            # No events requested: poll still reports POLLERR when the reader of a pipe has gone.
            self._poll.register(output, 0)
        self._alive: set[int] = set()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        for fd in (self._read, self._write, *self._alive):
            os.close(fd)

    def until(self, pids: Iterable[int]) -> None:
        """Stop also when all of these processes have ended; some may have already."""
        ended = False
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                ended = True
                continue
            self._alive.add(fd)
            self._poll.register(fd, select.POLLIN)
        self.stopped = self.stopped or (ended and not self._alive)

    def listen(self, fd: int) -> None:
        """Let ``wait`` also return early when this descriptor is readable."""
        self._poll.register(fd, select.POLLIN)

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = self.interrupted = True
        if number == signal.SIGHUP:
            return
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now > self._asked + _ONE_SIGNAL_SECONDS:
            abort(128 + number)

    def wait(self, seconds: float) -> None:
        """Sleep; return early with ``stopped`` set when there is a reason to stop."""
        for fd, happened in self._poll.poll(seconds * 1000):
            if fd == self._read:
                os.read(self._read, 64)
            elif fd in self._alive:
                self._poll.unregister(fd)
                self._alive.remove(fd)
                os.close(fd)
                self.stopped = self.stopped or not self._alive
            elif happened & (select.POLLERR | select.POLLHUP):
                self.stopped = True

    def goes_on(self, end: float = math.inf) -> bool:
        """Whether there is no reason to stop before ``end`` (CLOCK_MONOTONIC, seconds)."""
        self.wait(0)
        return not self.stopped and time.monotonic() < end

    def patient(self, stalled: float) -> bool:
        """Whether to wait for a slow reader after detaching, as a ``Patience``."""
        return not self.interrupted or stalled < STALLED_SECONDS
