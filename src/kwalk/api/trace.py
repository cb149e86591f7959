# SPDX-License-Identifier: MIT
"""Tracing from Python: ``kwalk.trace()`` and ``kwalk.stream()``. See docs/library.md.

``kwalk/__init__.py`` imports this module when one of its public names is first used.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Unpack

from kwalk.abi import Output
from kwalk.api.live import Live
from kwalk.api.profile import Profile
from kwalk.engine.capture import Capture
from kwalk.errors import UsageError
from kwalk.model.event import Batch, Event
from kwalk.model.ledger import Summary
from kwalk.model.profile import Timeline
from kwalk.options.keywords import Choices

POLL_SECONDS = 0.1


class Trace(Live):
    """Session that aggregates stacks in the kernel; ``kwalk.trace()`` returns it."""

    _output = Output.COUNT
    _last: Profile | None = None

    def snapshot(self) -> Profile:
        """Return the counts so far; after the end of tracing, all of them.

        :raises KwalkError: with the helper method, before ``stop``.
        """
        if self._last is not None:
            return self._last
        with self._guard:
            capture = self._open()
            capture.check_readable()
            return self._profile(capture)

    def stop(self) -> Profile:
        """Detach; return all counts."""
        with self._guard:
            if self._last is None:
                capture = self._open()
                self._session.detach()
                self._last = self._profile(capture)
            return self._last

    def _finish(self) -> Summary:
        return self.stop().summary

    def _profile(self, capture: Capture) -> Profile:
        counts = capture.counts()
        seconds = capture.seconds
        summary = self._summary()
        if not capture.stopped:
            # Hits that came while the stacks were read are not in this snapshot.
            summary.ledger.close("after_snapshot")
        told = capture.facts([self._call])
        return Profile(counts, summary, Timeline.one_interval(counts, seconds), told)


class Stream(Live):
    """Session that yields each event; ``kwalk.stream()`` returns it.

    Iteration over it ends with ``stop``; ``events`` takes other limits.
    """

    _output = Output.EVENT
    _last: Summary | None = None

    def __init__(self, name: str, functions: str | Sequence[str], choices: Choices) -> None:
        super().__init__(name, functions, choices)
        if self._options.per:
            raise UsageError(
                "a stream has no counts to aggregate", "Leave per out: each event has its task."
            )
        self._batches: deque[Batch] = deque()
        self._taken = 0  # events taken from the first batch

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, count: int | None = None, duration: float | None = None) -> Iterator[Event]:
        """Yield events with symbolized stacks.

        Events not taken are kept for the next call. It ends when the queue is empty after
        ``stop``, after the end of the command, or when the budget cannot be kept.

        :param count: Maximum number of events.
        :param duration: Time limit in seconds.
        """
        end = math.inf if duration is None else time.monotonic() + duration
        left = math.inf if count is None else count
        while left > 0 and time.monotonic() < end:
            capture = self._open()
            stopped = capture.stopped  # before reading: a budget may end tracing in between
            if self._ready(capture):
                left -= 1
                yield self._take()
            elif stopped:
                return
            elif self._session.child and self._session.child.wait(0):
                self.stop()
            else:
                time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))

    def _ready(self, capture: Capture) -> bool:
        """Whether an event is queued; reads new ones if not."""
        if not self._batches:
            with self._guard:
                self._batches.extend(batch for batch in capture.reader.batches() if len(batch))
        return bool(self._batches)

    def _take(self) -> Event:
        batch, at = self._batches[0], self._taken
        call = batch.calls[at]
        assert call.who, "records with a time have it"
        if not call.stack.frames:
            with self._guard:
                self._name_frames(call.stack)
        self._taken += 1
        if self._taken == len(batch):
            self._batches.popleft()
            self._taken = 0
        return Event(batch.times[at], call.who, call.stack)

    def stop(self) -> None:
        """Detach; events already read or in the ring can still be taken."""
        with self._guard:
            self._open()
            self._session.detach()

    @property
    def summary(self) -> Summary:
        """Summary with the ledger; available after the end of tracing."""
        if not self._last:
            raise UsageError(
                "the summary is final only when tracing has ended", "Read it after the with."
            )
        return self._last

    def _finish(self) -> Summary:
        capture = self._session.capture
        self._session.detach()
        while self._ready(capture):
            capture.reader.drop(self._batches.popleft().part(self._taken), "not_taken")
            self._taken = 0
        self._last = self._summary()
        return self._last


def trace(functions: str | Sequence[str] = (), **choices: Unpack[Choices]) -> Trace:
    """Return a session that counts the stacks of functions, for a ``with`` statement.

    :param functions: One or several, as ``kwalk count`` takes them: ``ip_rcv``, ``r:ip_rcv``,
        ``ip_rcv+0x1f``, ``overlay:ovl_open``, ``tcp_*``, ``/^ip6?_rcv$/``, ``t:sched:sched_switch``
    :param choices: See ``Choices``.
    :raises UsageError: for a wrong option. Entering the ``with`` raises KwalkError if the
        functions cannot be traced.
    """
    return Trace("trace", functions, choices)


def stream(functions: str | Sequence[str] = (), **choices: Unpack[Choices]) -> Stream:
    """Return a session that yields each event with its stack; parameters as of ``trace``."""
    return Stream("stream", functions, choices)
