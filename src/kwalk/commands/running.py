# SPDX-License-Identifier: MIT
"""Run a capture until it is time to stop: a signal, a count, a duration, a closed pipe."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kwalk.capture import Capture
from kwalk.errors import OutputError
from kwalk.output import write_pieces
from kwalk.probe.probe import selection_notes
from kwalk.words import plural

if TYPE_CHECKING:  # what is not needed before something is traced
    from kwalk.budget import Budget
    from kwalk.ledger import Summary
    from kwalk.report.stream import StreamReport
    from kwalk.symbolize.symbolizer import Symbolizer

POLL_SECONDS = 0.1


class Stopper:
    """Turns SIGINT and SIGTERM into a flag, and sleeps until they or a closed stdout come.

    :ivar stopped: There was a reason to end.
    :ivar interrupted: And it was a signal.
    """

    def __enter__(self) -> Stopper:
        self.stopped = False
        self.interrupted = False
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
        self._alive: set[int] = set()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        for fd in (self._read, self._write, *self._alive):
            os.close(fd)

    def until(self, pids: Iterable[int]) -> None:
        """Stop, too, when all of these processes have ended; some may have by now."""
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
        """Have ``wait`` return early, too, when there is something to be read here."""
        self._poll.register(fd, select.POLLIN)

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = self.interrupted = True

    def wait(self, seconds: float) -> None:
        """Sleep; return early with ``stopped`` set when there is a reason to end."""
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


class Finished(NamedTuple):
    """What came of a capture.

    :ivar failed: Why standard output took no more, if that is what ended it.
    """

    summary: Summary
    failed: OutputError | None = None

    def conclude(self, symbolizer: Symbolizer, strict: bool) -> int:
        """Print the summary on stderr, and return the exit code.

        :param strict: See ``report.summary.exit_code``.
        :raises OutputError: ``failed``.
        """
        from kwalk.report import summary as summaries

        sys.stderr.write(summaries.as_text(self.summary, symbolizer))
        if self.failed:
            raise self.failed
        return summaries.exit_code(self.summary, strict)


def announce(prog: str, capture: Capture, ends: str = "Ctrl-C ends") -> None:
    """Say on stderr that the probe is attached, and what the user should know of it.

    :param ends: How it will end.
    """
    probe = capture.probe
    method = str(probe.method.name).lower()
    number = f": {plural(probe.functions, 'function')}" if probe.functions > 1 else ""
    print(
        f"{prog}: tracing {probe.selection.label}{number} ({method} by {probe.attach}); {ends}",
        file=sys.stderr,
        flush=True,
    )
    for note in [*probe.notes, *selection_notes(probe)]:
        print(f"{prog}: {note}", file=sys.stderr, flush=True)


def run(
    capture: Capture,
    stopper: Stopper,
    report: StreamReport,
    count: int | None = None,
    duration: float | None = None,
    budget: Budget | None = None,
    conclude: Callable[[Summary], None] = lambda summary: None,
) -> Finished:
    """Print events until told to stop, then detach and print what is left.

    :param count: Stop after this many events.
    :param duration: Stop after this many seconds.
    :param budget: What to keep to.
    :param conclude: Adds to the summary.
    """
    deadline = None if duration is None else capture.started + duration
    left = count
    open_ = True
    failed: OutputError | None = None

    def put(pieces: Sequence[bytes]) -> None:
        nonlocal open_, failed
        try:
            open_ = write_pieces(pieces)
        except OutputError as error:
            open_, failed = False, error

    def drain() -> None:
        nonlocal left
        for batch in capture.batches():
            wanted = batch if left is None else batch.part(0, left)
            if left is not None:
                left -= len(wanted)
            if not open_ or len(wanted) < len(batch):
                unused = batch.part(len(wanted) if open_ else 0)
                capture.drop(unused, "past_count" if open_ else "output_closed")
            if open_ and len(wanted):
                put(report.pieces(wanted))

    while open_ and not stopper.stopped and left != 0:
        remaining = POLL_SECONDS if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            break
        stopper.wait(min(remaining, POLL_SECONDS))
        drain()
        if budget and not budget.tend():
            break
    capture.stop()
    drain()
    summary = capture.summary()
    conclude(summary)
    if open_:
        put([report.end(summary).encode()])
    return Finished(summary, failed)
