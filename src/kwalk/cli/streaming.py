# SPDX-License-Identifier: MIT
"""Print events until told to stop; account for those not printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kwalk.cli.tracing import Finished, TracingSession
from kwalk.support.stdio import Printer

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.model.event import Batch
    from kwalk.report.stream import StreamReport

POLL_SECONDS = 0.1


def run(
    session: TracingSession,
    report: StreamReport,
    count: int | None = None,
    duration: float | None = None,
) -> Finished:
    """Print events until told to stop, then detach and print the rest.

    :param count: Stop after this many events.
    :param duration: Stop after this many seconds.
    """
    capture, stopper = session.capture, session.stopper
    end = session.end(duration)
    left = count
    printer = Printer()
    capture.reader.make_texts(report.call)

    def put(batch: Batch) -> None:
        """Print a batch; a slow reader of stdout does not keep the probe attached."""
        pieces = report.pieces(batch)
        data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        taken = 0
        if not capture.stopped:
            taken = printer.put(data, lambda stalled: stopper.goes_on(end))
            if taken < len(data) and printer.open:
                session.detach()
        if taken < len(data):
            taken += printer.put(data[taken:], stopper.patient)
        if taken < len(data):
            printer.end()
            capture.reader.drop(
                batch.part(whole_events(pieces, len(batch), taken)), "output_closed"
            )

    def drain() -> None:
        nonlocal left
        for batch in capture.reader.batches():
            wanted = batch if left is None else batch.part(0, left)
            if left is not None:
                left -= len(wanted)
            if not printer.open:
                capture.reader.drop(batch, "output_closed")
                continue
            if len(wanted) < len(batch):
                capture.reader.drop(batch.part(len(wanted)), "past_count")
            if len(wanted):
                put(wanted)

    for _ in session.looks(end, lambda now: now + POLL_SECONDS):
        drain()
        if not printer.open or left == 0:
            break
    session.detach()
    drain()
    summary = session.conclude()
    printer.complete(report.end(summary), stopper.patient)
    return Finished(summary, printer.failed)


def whole_events(pieces: Sequence[bytes | bytearray], events: int, taken: int) -> int:
    """Return how many events of a batch are complete in the first bytes of its text.

    :param pieces: Text of the batch: see ``StreamReport.pieces``.
    :param taken: Number of bytes.
    """
    if len(pieces) == 1:
        return taken * events // len(pieces[0])
    each = len(pieces) // events
    for number in range(events):
        taken -= sum(map(len, pieces[number * each : (number + 1) * each]))
        if taken < 0:
            return number
    return events
