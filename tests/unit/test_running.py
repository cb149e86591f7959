# SPDX-License-Identifier: MIT
"""What is printed of a stream of batches, and that what is not is accounted for."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.commands import running
from kwalk.errors import OutputError
from kwalk.events import Batch, Call, Who
from kwalk.ledger import Ledger, Summary
from kwalk.stack import Stack

WHO = Who(0, 7, 7, "redis")


class Source:
    """A capture whose reads yield batches of these sizes; its events are numbered.

    :ivar left: Reads that are yet to come; the last one is after detaching.
    """

    def __init__(self, reads: list[list[int]]) -> None:
        self.left = reads
        self.events = 0
        self.stopped = False
        self.started = time.monotonic()
        self.ledger = Ledger()

    def batches(self) -> Iterator[Batch]:
        for size in self.left.pop(0) if self.left else []:
            numbers = range(self.events, self.events + size)
            self.events += size
            self.ledger.hits += size
            self.ledger.recorded += size
            calls = [Call(Stack((number,)), WHO) for number in numbers]
            yield Batch(calls, numbers, [b"12:00:00.000000 "] * size)

    def drop(self, batch: Batch, cause: str) -> None:
        self.ledger.recorded -= len(batch)
        self.ledger.lose(cause, len(batch))

    def stop(self) -> None:
        self.stopped = True

    def summary(self) -> Summary:
        assert self.stopped
        return Summary("ip_rcv", "manual", "fentry", "6.12", self.ledger)


class Stopper:
    """Says stop after so many waits."""

    def __init__(self, waits: int) -> None:
        self.stopped = False
        self.waits = waits
        self.asked: list[float] = []

    def wait(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.waits -= 1
        self.stopped = self.waits <= 0


class Numbers:
    """A report that prints the events' numbers."""

    def pieces(self, batch: Batch) -> list[bytes]:
        stacks = [call.stack.addresses[0] for call in batch.calls]
        assert list(batch.times) == stacks
        assert len(batch.clocks) == len(stacks)
        return [b"%d " % number for number in stacks]

    def end(self, summary: Summary) -> str:
        return "end"


class Output:
    """Standard output, which ends with a certain write.

    :param full: There is no more room then; otherwise its reader has gone.
    """

    def __init__(self, lasts: int | None = None, full: bool = False) -> None:
        self.texts: list[str] = []
        self._lasts = lasts
        self._full = full

    def write(self, text: str) -> bool:
        assert self._lasts is None or len(self.texts) <= self._lasts
        self.texts.append(text)
        lasts = self._lasts is None or len(self.texts) <= self._lasts
        if self._full and not lasts:
            raise OutputError(OSError(errno.ENOSPC, "No space left on device"))
        return lasts

    def write_pieces(self, pieces: Sequence[bytes]) -> bool:
        return self.write(b"".join(pieces).decode())


def streamed(
    reads: list[list[int]], output: Output, count: int | None = None, waits: int | None = None
) -> tuple[Source, Ledger, OutputError | None]:
    source: Any = Source(reads)
    stopper: Any = Stopper(max(len(reads) - 1, 0) if waits is None else waits)
    if not stopper.waits:
        stopper.stopped = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "write_pieces", output.write_pieces)
        summary, failed = running.run(source, stopper, Numbers(), count)
    return source, summary.ledger, failed


READS = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=5)


@given(READS, st.none() | st.integers(1, 30))
def test_so_many_events_are_printed_as_were_asked_for_and_the_rest_is_past_count(
    reads: list[list[int]], count: int | None
) -> None:
    output = Output()
    source, ledger, failed = streamed(reads, output, count)
    printed = source.events if count is None else min(count, source.events)
    *events, end = output.texts
    assert "".join(events).split() == [str(number) for number in range(printed)]
    assert "" not in events
    assert (end, failed) == ("end", None)
    assert ledger.recorded == printed
    rest = source.events - printed
    assert (ledger.not_wanted, ledger.lost) == ({"past_count": rest} if rest else {}, {})
    assert ledger.balance == 0


@given(READS, st.none() | st.integers(1, 30), st.integers(0, 5), st.booleans())
def test_what_comes_after_the_reader_or_the_room_has_gone_is_lost_as_that(
    reads: list[list[int]], count: int | None, lasts: int, full: bool
) -> None:
    output = Output(lasts, full)
    source, ledger, failed = streamed(reads, output, count)
    events = [text for text in output.texts if text != "end"]
    written = "".join(events).split()
    assert written == [str(number) for number in range(len(written))]
    assert bool(failed) == (full and len(output.texts) > lasts)
    # The last text was written in part; nobody knows how much of it was read.
    assert ledger.recorded == len(written)
    assert ledger.balance == 0
    assert set(ledger.causes) <= {"past_count", "output_closed"}
    if len(events) <= lasts:  # only the end could not be written, if that
        assert "output_closed" not in ledger.lost
    if count is None:
        assert "past_count" not in ledger.not_wanted
    assert source.stopped


def test_after_the_last_event_nobody_waits_any_longer() -> None:
    source, ledger, _ = streamed([[2, 2], [9], [1]], Output(), count=3, waits=10)
    assert source.left == [[1]]  # one look while it runs, one after detaching
    assert ledger.not_wanted == {"past_count": 10}


@pytest.mark.parametrize("full", [False, True])
def test_after_the_reader_or_the_room_has_gone_nobody_waits_any_longer(full: bool) -> None:
    source, ledger, failed = streamed([[2, 2], [9], [1]], Output(0, full), waits=10)
    assert bool(failed) == full
    assert source.left == [[1]]
    assert (ledger.recorded, ledger.lost) == (2, {"output_closed": 11})


def test_a_duration_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    source: Any = Source([[1]] * 100)
    source.started = clock[0]
    stopper: Any = Stopper(1000)

    def wait(seconds: float) -> None:
        assert 0 < seconds <= running.POLL_SECONDS
        clock[0] += seconds

    stopper.wait = wait
    output = Output()
    monkeypatch.setattr(running, "write_pieces", output.write_pieces)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    summary, failed = running.run(source, stopper, Numbers(), duration=0.25)
    assert clock[0] == pytest.approx(100.25)
    assert summary.ledger.recorded == 4  # after 0.1, 0.2 and 0.25 s, and after detaching
    assert failed is None


def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_processes_that_end_while_kwalk_attaches_have_ended() -> None:
    with running.Stopper() as stopper:
        stopper.until([])  # nobody's end was to be waited for
        assert not stopper.stopped
        stopper.until([ended(), os.getpid()])
        stopper.wait(0)
        assert not stopper.stopped
    with running.Stopper() as stopper:
        stopper.until([ended(), ended()])
        assert stopper.stopped
        assert not stopper.interrupted
