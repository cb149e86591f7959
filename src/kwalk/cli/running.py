# SPDX-License-Identifier: MIT
"""Run a capture until it is time to stop: a signal, a count, a duration, a closed pipe."""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kwalk.engine.capture import Capture
from kwalk.errors import OutputError
from kwalk.probe.probe import selection_notes
from kwalk.support.aborting import abort
from kwalk.support.outlet import STALLED_SECONDS
from kwalk.support.stdio import Printer
from kwalk.support.text import plural

if TYPE_CHECKING:  # what is not needed before something is traced
    from kwalk.engine.budget import Budget
    from kwalk.model.event import Batch
    from kwalk.model.ledger import Summary
    from kwalk.report.stream import StreamReport
    from kwalk.symbolize.symbolizer import Symbolizer

POLL_SECONDS = 0.1
# Detaching from fewer is done before anybody asks.
MANY = 100
# timeout(1) sends its signal twice, to the process and to its group: that is one.
_ONE_SIGNAL_SECONDS = 0.5


class Stopper:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag, and sleeps until they or a closed stdout come.

    A second SIGINT or SIGTERM ends this process at once. SIGHUP is left alone where it was ignored
    (nohup); of those that come with a terminal's end, or with systemd's SIGTERM, each is the first.

    :param output: What is written to: that its reader has gone is a reason to end. None is stdout,
        -1 a file, which has none.
    :ivar stopped: There was a reason to end.
    :ivar interrupted: And it was a signal.
    """

    def __init__(self, output: int | None = None) -> None:
        self._output = output

    def __enter__(self) -> Stopper:
        self.stopped = False
        self.interrupted = False
        self._asked: float | None = None  # when SIGINT or SIGTERM came first
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
            # No events asked for: poll still tells when the pipe's reader has gone.
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
        if number == signal.SIGHUP:
            return
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now > self._asked + _ONE_SIGNAL_SECONDS:
            abort(128 + number)

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

    def goes_on(self, end: float = math.inf) -> bool:
        """Whether there is no reason to end, and it is not yet ``end`` (CLOCK_MONOTONIC)."""
        self.wait(0)
        return not self.stopped and time.monotonic() < end

    def patient(self, stalled: float) -> bool:
        """Whether to wait for who reads what is left: a ``Patience``, once nothing is traced."""
        return not self.interrupted or stalled < STALLED_SECONDS


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


def detach(capture: Capture) -> None:
    """Detach, and say so where that takes long."""
    if not capture.stopped and capture.probe.functions >= MANY:
        say_detaching(capture.probe.functions)
    capture.stop()


def say_detaching(number: int) -> None:
    """Say on stderr what there is to wait for."""
    tell(f"detaching from {number:,} functions; Ctrl-C leaves that to the kernel")


def tell(text: str) -> None:
    """Print a notice on stderr, at once."""
    print(f"kwalk: {text}", file=sys.stderr, flush=True)


def tend(capture: Capture, budget: Budget | None, say: Callable[[str], object] = tell) -> bool:
    """Follow what changes meanwhile, and keep the budget; return False where that cannot be kept.

    To be called while tracing, twice a second or more often.

    :param say: Takes what the user should know at once.
    """
    capture.look()
    for text in capture.news():
        say(text)
    return budget is None or budget.tend()


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
    end = math.inf if duration is None else capture.started + duration
    left = count
    printer = Printer()

    def put(batch: Batch) -> None:
        """Print a batch; whoever is slow to read it does not keep the probe attached."""
        pieces = report.pieces(batch)
        data = memoryview(b"".join(pieces))
        taken = 0
        if not capture.stopped:
            taken = printer.put(data, lambda stalled: stopper.goes_on(end))
            if taken < len(data) and printer.open:
                detach(capture)
        if taken < len(data):
            taken += printer.put(data[taken:], stopper.patient)
        if taken < len(data):
            printer.end()
            capture.drop(batch.part(whole_events(pieces, len(batch), taken)), "output_closed")

    def drain() -> None:
        nonlocal left
        for batch in capture.batches():
            wanted = batch if left is None else batch.part(0, left)
            if left is not None:
                left -= len(wanted)
            if not printer.open:
                capture.drop(batch, "output_closed")
                continue
            if len(wanted) < len(batch):
                capture.drop(batch.part(len(wanted)), "past_count")
            if len(wanted):
                put(wanted)

    while printer.open and not stopper.stopped and left != 0:
        remaining = end - time.monotonic()
        if remaining <= 0:
            break
        stopper.wait(min(remaining, POLL_SECONDS))
        drain()
        if not tend(capture, budget):
            break
    detach(capture)
    drain()
    summary = capture.summary()
    conclude(summary)
    printer.complete(report.end(summary), stopper.patient)
    return Finished(summary, printer.failed)


def whole_events(pieces: Sequence[bytes], events: int, taken: int) -> int:
    """Return how many events are complete in the first bytes of a batch's text.

    :param pieces: The text; each event has as many as any other.
    :param taken: Bytes.
    """
    each = len(pieces) // events
    for number in range(events):
        taken -= sum(map(len, pieces[number * each : (number + 1) * each]))
        if taken < 0:
            return number
    return events
