# SPDX-License-Identifier: MIT
"""The library: trace from Python, and get plain data. docs/library.md shows how.

``kwalk/__init__.py`` offers what is public here; it imports this only when it is asked for.
"""

from __future__ import annotations

import math
import os
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Self, Unpack

from kwalk import checks, merging
from kwalk.capture import Capture
from kwalk.choices import Choices, probe_options
from kwalk.errors import UsageError
from kwalk.events import Batch, Event
from kwalk.ledger import Summary
from kwalk.profile import Profile, Timeline
from kwalk.recording.files import load
from kwalk.stack import Count, Stack
from kwalk.transport.abi import Output

POLL_SECONDS = 0.1


class _Tracing:
    """Traces from ``__enter__`` to ``stop`` or ``__exit__``."""

    def __init__(self, name: str, functions: str | Sequence[str], choices: Choices) -> None:
        self._functions = (
            [functions]
            if isinstance(functions, str)
            else [*checks.several("functions", functions, str)]
        )
        self._options = probe_options(choices, self._output)
        if bool(self._functions) == bool(self._options.frequency):
            raise UsageError(
                "either functions are traced or samples are taken, and one of them is needed",
                f'Say kwalk.{name}("ip_rcv"), or kwalk.{name}(frequency=99).',
            )
        self._call = _call(name, self._functions, choices)
        self._capture: Capture | None = None
        self._entered = False
        self._stopped = False
        self._seconds = 0.0

    _output: Output

    def __enter__(self) -> Self:
        if self._entered:
            raise UsageError("this has been traced already", "Make a new one for each with.")
        capture = Capture(self._functions, self._options)
        capture.__enter__()
        self._entered = True
        self._capture = capture
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._capture
        try:
            self._finish(self._capture)
        finally:
            self._capture.__exit__()
            self._capture = None

    def _finish(self, capture: Capture) -> None:
        """Take what there is, now that this is its end."""
        raise NotImplementedError

    def _open(self) -> Capture:
        if not self._capture:
            raise UsageError(
                "nothing is being traced" if self._entered else "tracing has not begun",
                "Use what kwalk.trace() and kwalk.stream() return in a with statement.",
            )
        return self._capture

    def _detach(self, capture: Capture) -> None:
        if not self._stopped:
            self._seconds = time.monotonic() - self._started
            self._stopped = True
        capture.stop()

    @property
    def method(self) -> str:
        """``manual`` or ``helper``: what ``auto`` has become."""
        return str(self._open().probe.method.name).lower()

    @property
    def attach(self) -> str:
        """How the kernel calls the program."""
        return self._open().probe.attach


class Trace(_Tracing):
    """Counts stacks in the kernel: what ``kwalk.trace()`` returns."""

    _output = Output.COUNT
    _last: Profile | None = None

    def snapshot(self) -> Profile:
        """Return what has been counted so far; once tracing has ended, all of it.

        :raises KwalkError: by the helper, before ``stop``.
        """
        if self._last:
            return self._last
        capture = self._open()
        capture.check_readable()
        return self._profile(capture)

    def stop(self) -> Profile:
        """Detach, and return all that was counted."""
        if not self._last:
            capture = self._open()
            self._detach(capture)
            self._last = self._profile(capture)
        return self._last

    def _finish(self, capture: Capture) -> None:
        self.stop()

    def _profile(self, capture: Capture) -> Profile:
        counts = capture.counts()
        seconds = self._seconds if self._stopped else time.monotonic() - self._started
        summary = _named(capture, capture.summary())
        if not self._stopped:
            # Calls go on while the stacks are read. What came since is not of this snapshot.
            ledger = summary.ledger
            ledger.hits = max(ledger.hits, ledger.recorded + sum(ledger.lost.values()))
            ledger.lose("after_snapshot", ledger.balance)
        told = capture.facts([self._call])
        return Profile(counts, summary, _one_interval(counts, seconds), told)


class Stream(_Tracing):
    """Yields each call as it comes: what ``kwalk.stream()`` returns.

    ``for event in stream`` goes on until ``stop``; ``events`` may end before.
    """

    _output = Output.EVENT
    _summary: Summary | None = None

    def __init__(self, name: str, functions: str | Sequence[str], choices: Choices) -> None:
        super().__init__(name, functions, choices)
        if self._options.per:
            raise UsageError("a stream counts nothing", "Leave per out: events say whose they are.")
        self._batches: deque[Batch] = deque()
        self._taken = 0  # of the first batch

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, count: int | None = None, duration: float | None = None) -> Iterator[Event]:
        """Yield events, the frames of their stacks named.

        What has come and was not taken is there for the next call. After ``stop`` this ends where
        nothing is left.

        :param count: End after so many.
        :param duration: End after so many seconds.
        """
        end = math.inf if duration is None else time.monotonic() + duration
        left = math.inf if count is None else count
        while left > 0 and time.monotonic() < end:
            capture = self._open()
            if self._ready(capture):
                left -= 1
                yield self._take(capture)
            elif self._stopped:
                return
            else:
                time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))

    def _ready(self, capture: Capture) -> bool:
        """Whether an event is there to be taken."""
        if not self._batches:
            self._batches.extend(batch for batch in capture.batches() if len(batch))
        return bool(self._batches)

    def _take(self, capture: Capture) -> Event:
        batch, at = self._batches[0], self._taken
        call = batch.calls[at]
        assert call.who, "asked for with the time"
        _name(capture, call.stack)
        self._taken += 1
        if self._taken == len(batch):
            self._batches.popleft()
            self._taken = 0
        return Event(batch.times[at], call.who, call.stack)

    def stop(self) -> None:
        """Detach; what has come can still be taken."""
        self._detach(self._open())

    @property
    def summary(self) -> Summary:
        """How it was traced, and where each call went; known once tracing has ended."""
        if not self._summary:
            raise UsageError(
                "the ledger is closed only when tracing has ended", "Ask for it behind the with."
            )
        return self._summary

    def _finish(self, capture: Capture) -> None:
        self._detach(capture)
        while self._ready(capture):
            capture.drop(self._batches.popleft().part(self._taken), "not_taken")
            self._taken = 0
        self._summary = _named(capture, capture.summary())


def trace(functions: str | Sequence[str] = (), **choices: Unpack[Choices]) -> Trace:
    """Count the stacks that lead to functions, in a ``with`` statement.

    :param functions: One or several, as ``kwalk count`` takes them: ``ip_rcv``, ``r:ip_rcv``,
        ``ip_rcv+0x1f``, ``overlay:ovl_open``, ``tcp_*``, ``/^ip6?_rcv$/``, ``t:sched:sched_switch``
    :param choices: See ``Choices``.
    :raises UsageError: if something is asked for that cannot be; when the ``with`` begins,
        KwalkError if it cannot be traced.
    """
    return Trace("trace", functions, choices)


def stream(functions: str | Sequence[str] = (), **choices: Unpack[Choices]) -> Stream:
    """Take each call of functions with its stack, in a ``with`` statement; else as ``trace``."""
    return Stream("stream", functions, choices)


def open(path: str | os.PathLike[str]) -> Profile:
    """Return what is in a recording.

    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is no recording.
    """
    return load(path)


def merge(*profiles: Profile) -> Profile:
    """Return profiles added up; see ``merging.merge``."""
    return merging.merge(profiles)


def _call(name: str, functions: Sequence[str], choices: Choices) -> str:
    given: list[str] = [repr(function) for function in functions]
    given += [f"{key}={value!r}" for key, value in choices.items()]
    return f"kwalk.{name}({', '.join(given)})"


def _named(capture: Capture, summary: Summary) -> Summary:
    """Return the summary, the frames of its differences named."""
    for difference in summary.verify.differences if summary.verify else ():
        for stack in difference:
            _name(capture, stack)
    return summary


def _name(capture: Capture, stack: Stack) -> None:
    if not stack.frames:
        stack.frames = tuple(capture.symbolizer.frames(stack))


def _one_interval(counts: Sequence[Count], seconds: float) -> Timeline:
    size = len(counts)
    numbers = array("q", [count.count for count in counts])
    return Timeline([seconds], array("I", [0]) * size, array("I", range(size)), numbers)
