# SPDX-License-Identifier: MIT
"""What is printed of a stream of batches, and that what is not is accounted for."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import session_of

from kwalk.cli import stopper as stoppers
from kwalk.cli import streaming
from kwalk.errors import OutputError
from kwalk.model.event import Batch, Call, Who
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Stack

WHO = Who(0, 7, 7, "redis")


class Source:
    """A capture whose reads yield batches of these sizes; its events are numbered.

    :ivar left: Reads that are yet to come; the last one is after detaching.
    """

    def __init__(self, reads: list[list[int]]) -> None:
        self.left = reads
        self.events = 0
        self.probe = SimpleNamespace(functions=1)
        self.due = math.inf
        self.stopped = False
        self.looks = 0
        self.started = time.monotonic()
        self.ledger = Ledger()
        self.reader = self

    def make_texts(self, render: Callable[[Call], bytes]) -> None:
        """Texts are not made with these events."""

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

    def look(self) -> None:
        self.looks += 1

    def news(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.stopped = True

    def summary(self) -> Summary:
        assert self.stopped
        return Summary("ip_rcv", "manual", "fentry", "6.12", self.ledger)


class Stopper:
    """Says stop after so many waits, as by Ctrl-C."""

    def __init__(self, waits: int) -> None:
        self.stopped = not waits
        self.waits = waits

    def wait(self, seconds: float) -> None:
        self.waits -= 1
        self.stopped = self.waits <= 0

    def goes_on(self, end: float) -> bool:
        self.wait(0)
        return not self.stopped

    def patient(self, stalled: float) -> bool:
        return stalled < 1


class Numbers:
    """A report that prints the events' numbers, each in two pieces."""

    def call(self, call: Call) -> bytes:
        raise AssertionError("not for these events")

    def pieces(self, batch: Batch) -> list[bytes]:
        stacks = [call.stack.addresses[0] for call in batch.calls]
        assert list(batch.times) == stacks
        assert len(batch.clocks) == len(stacks)
        return [piece for number in stacks for piece in (b"%d" % number, b" ")]

    def end(self, summary: Summary) -> str:
        return "end"


class Output:
    """Standard output with room for so many bytes, until what holds it up happens.

    :param why: ``gone`` or ``full``, or ``stalled``, and then nothing more is taken.
    """

    def __init__(self, room: int | None = None, why: str = "gone") -> None:
        self.open = True
        self.failed: OutputError | None = None
        self.data = b""
        self._room = 1 << 60 if room is None else room
        self._why = why

    def put(self, data: bytes, patience: Callable[[float], bool]) -> int:
        if not self.open:
            return 0
        taken = bytes(data[: self._room])
        self.data += taken
        self._room -= len(taken)
        if len(taken) == len(data):
            return len(taken)
        if self._why == "stalled":
            seconds = 0.0
            while patience(seconds):
                seconds += 0.1
            return len(taken)
        self.open = False
        if self._why == "full":
            self.failed = OutputError(OSError(errno.ENOSPC, "No space left on device"))
        return len(taken)

    def complete(self, text: str, patience: Callable[[float], bool]) -> bool:
        return self.put(text.encode(), patience) == len(text)

    def end(self) -> None:
        self.open = False


def streamed(
    reads: list[list[int]], output: Output, count: int | None = None, waits: int | None = None
) -> tuple[Source, Ledger, OutputError | None]:
    source: Any = Source(reads)
    stopper: Any = Stopper(max(len(reads) - 1, 0) if waits is None else waits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "Printer", lambda: output)
        summary, failed = streaming.run(session_of(source, stopper), Numbers(), count)
    return source, summary.ledger, failed


READS = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=5)
WHYS = st.sampled_from(["gone", "full", "stalled"])


@given(READS, st.none() | st.integers(1, 30))
def test_count_option_counts_the_rest_as_past_count(
    reads: list[list[int]], count: int | None
) -> None:
    output = Output()
    source, ledger, failed = streamed(reads, output, count)
    printed = source.events if count is None else min(count, source.events)
    assert output.data.split() == [b"%d" % number for number in range(printed)] + [b"end"]
    assert failed is None
    assert ledger.recorded == printed
    rest = source.events - printed
    assert (ledger.not_wanted, ledger.lost) == ({"past_count": rest} if rest else {}, {})
    assert ledger.balance == 0


@given(READS, st.none() | st.integers(1, 30), st.integers(0, 60), WHYS)
def test_output_that_ends_is_counted_to_the_event(
    reads: list[list[int]], count: int | None, room: int, why: str
) -> None:
    output = Output(room, why)
    source, ledger, failed = streamed(reads, output, count)
    whole = output.data.decode().removesuffix("end")
    written = whole[: whole.rfind(" ") + 1].split()
    assert written == [str(number) for number in range(len(written))]
    assert ledger.recorded == len(written)
    assert ledger.balance == 0
    assert set(ledger.lost) <= {"output_closed"}
    assert bool(failed) == (why == "full" and not output.open)
    if count is None:
        assert not ledger.not_wanted
    assert source.stopped


def test_stream_detaches_after_the_last_event() -> None:
    source, ledger, _ = streamed([[2, 2], [9], [1]], Output(), count=3, waits=10)
    assert source.left == [[1]]  # one look while it runs, one after detaching
    assert ledger.not_wanted == {"past_count": 10}


@pytest.mark.parametrize("why", ["gone", "full"])
def test_stream_detaches_when_the_output_is_closed_or_full(why: str) -> None:
    source, ledger, failed = streamed([[2, 2], [9], [1]], Output(3, why), waits=10)
    assert bool(failed) == (why == "full")
    assert source.left == [[1]]
    assert (ledger.recorded, ledger.lost) == (1, {"output_closed": 12})


def test_stalled_reader_does_not_keep_the_probe_attached() -> None:
    detached: list[int] = []

    class Slow(Output):
        """Takes nothing while it is traced, all that is left afterwards."""

        def put(self, data: bytes, patience: Callable[[float], bool]) -> int:
            if source.stopped:
                return super().put(data, patience)
            detached.append(0)
            while patience(0.0):
                detached[0] += 1
            return 0

    source: Any = Source([[2, 2], [9]])
    stopper: Any = Stopper(5)
    with pytest.MonkeyPatch.context() as patch:
        output = Slow()
        patch.setattr(streaming, "Printer", lambda: output)
        summary, failed = streaming.run(session_of(source, stopper), Numbers())
    assert detached == [4]  # told to stop at the fifth look
    assert output.data.split()[-2:] == [b"12", b"end"]
    assert (summary.ledger.recorded, summary.ledger.lost, failed) == (13, {}, None)


def test_duration_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    source: Any = Source([[1]] * 100)
    source.started = clock[0]
    stopper: Any = Stopper(1000)

    def wait(seconds: float) -> None:
        assert 0 <= seconds <= streaming.POLL_SECONDS
        clock[0] += seconds

    stopper.wait = wait
    output = Output()
    monkeypatch.setattr(streaming, "Printer", lambda: output)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    summary, failed = streaming.run(session_of(source, stopper), Numbers(), duration=0.25)
    assert clock[0] == pytest.approx(100.25)
    assert summary.ledger.recorded == 4  # at once, after 0.1 and 0.2 s, and after detaching
    assert source.looks == 3
    assert failed is None


def ended() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_processes_that_end_while_kwalk_attaches_have_ended() -> None:
    with stoppers.Stopper() as stopper:
        stopper.until([])  # nobody's end was to be waited for
        assert not stopper.stopped
        stopper.until([ended(), os.getpid()])
        stopper.wait(0)
        assert not stopper.stopped
    with stoppers.Stopper() as stopper:
        stopper.until([ended(), ended()])
        assert stopper.stopped
        assert not stopper.interrupted
