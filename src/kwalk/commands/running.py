# SPDX-License-Identifier: MIT
"""Run a capture until it is time to stop: a signal, a count, a duration, a closed pipe."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from kwalk.capture import Capture
from kwalk.profile import Summary
from kwalk.report.stream import StreamReport

POLL_SECONDS = 0.1


class Stopper:
    """Turns SIGINT and SIGTERM into a flag, and sleeps until they or a closed stdout come."""

    def __enter__(self) -> Stopper:
        self.stopped = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_wakeup = signal.set_wakeup_fd(self._write)
        self._old = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        # No events asked for: poll still tells when the pipe's reader has gone.
        self._poll.register(sys.stdout.fileno(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._read)
        os.close(self._write)

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True

    def wait(self, seconds: float) -> None:
        """Sleep; return early with ``stopped`` set when there is a reason to end."""
        for fd, happened in self._poll.poll(seconds * 1000):
            if fd == self._read:
                os.read(self._read, 64)
            elif happened & (select.POLLERR | select.POLLHUP):
                self.stopped = True


def announce(prog: str, capture: Capture) -> None:
    """Say on stderr that the probe is attached, and what the user should know of it."""
    probe = capture.probe
    method = str(probe.method.name).lower()
    print(
        f"{prog}: tracing {probe.target.label} ({method} by {probe.attach}); Ctrl-C ends",
        file=sys.stderr,
        flush=True,
    )
    for note in probe.notes:
        print(f"{prog}: {note}", file=sys.stderr, flush=True)


def run(
    capture: Capture,
    stopper: Stopper,
    report: StreamReport,
    count: int | None = None,
    duration: float | None = None,
) -> tuple[Summary, bool]:
    """Print events until told to stop, then detach and print what is left.

    :param count: Stop after this many events.
    :param duration: Stop after this many seconds.
    :return: The summary, and whether standard output is still open.
    """
    deadline = None if duration is None else time.monotonic() + duration
    printed = 0
    open_ = True

    def drain() -> None:
        nonlocal printed, open_
        texts = []
        for event in capture.read():
            texts.append(report.event(event))
            printed += 1
            if printed == count:
                break
        if texts:
            open_ = write("".join(texts))

    while open_ and not stopper.stopped and printed != count:
        left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            break
        stopper.wait(min(left, POLL_SECONDS))
        drain()
    capture.stop()
    if open_ and printed != count:
        drain()
    capture.skip("past_count" if printed == count else "output_closed")
    summary = capture.summary()
    if open_:
        open_ = write(report.end(summary))
    return summary, open_


def write(text: str) -> bool:
    """Write to standard output at once; return False if nobody reads it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
