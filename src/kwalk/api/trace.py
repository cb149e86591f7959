# SPDX-License-Identifier: MIT
"""The library: trace from Python, and get plain data. docs/library.md shows how.

``kwalk/__init__.py`` offers what is public here; it imports this only when it is asked for.
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
    """Counts stacks in the kernel: what ``kwalk.trace()`` returns."""

    _output = Output.COUNT
    _last: Profile | None = None

    def snapshot(self) -> Profile:
        """Return what has been counted so far; once tracing has ended, all of it.

        :raises KwalkError: by the helper, before ``stop``.
        """
        if self._last is not None:
            return self._last
        with self._guard:
            capture = self._open()
            capture.check_readable()
            return self._profile(capture)

    def stop(self) -> Profile:
        """Detach, and return all that was counted."""
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
            # Calls go on while the stacks are read. What came since is not of this snapshot.
            summary.ledger.close("after_snapshot")
        told = capture.facts([self._call])
        return Profile(counts, summary, Timeline.one_interval(counts, seconds), told)


class Stream(Live):
    """Yields each call as it comes: what ``kwalk.stream()`` returns.

    ``for event in stream`` goes on until ``stop``; ``events`` may end before.
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
        self._taken = 0  # of the first batch

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, count: int | None = None, duration: float | None = None) -> Iterator[Event]:
        """Yield events, the frames of their stacks named.

        What has come and was not taken is there for the next call. After ``stop`` this ends where
        nothing is left, and so it does where the command that was given has ended, or where its
        budget cannot be kept.

        :param count: End after so many.
        :param duration: End after so many seconds.
        """
        end = math.inf if duration is None else time.monotonic() + duration
        left = math.inf if count is None else count
        while left > 0 and time.monotonic() < end:
            capture = self._open()
            stopped = capture.stopped  # before a look at what there is: the budget may end it now
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
        """Whether an event is there to be taken."""
        if not self._batches:
            with self._guard:
                self._batches.extend(batch for batch in capture.batches() if len(batch))
        return bool(self._batches)

    def _take(self) -> Event:
        batch, at = self._batches[0], self._taken
        call = batch.calls[at]
        assert call.who, "asked for with the time"
        if not call.stack.frames:
            with self._guard:
                self._name_frames(call.stack)
        self._taken += 1
        if self._taken == len(batch):
            self._batches.popleft()
            self._taken = 0
        return Event(batch.times[at], call.who, call.stack)

    def stop(self) -> None:
        """Detach; what has come can still be taken."""
        with self._guard:
            self._open()
            self._session.detach()

    @property
    def summary(self) -> Summary:
        """How it was traced, and where each call went; known once tracing has ended."""
        if not self._last:
            raise UsageError(
                "the summary is final only when tracing has ended", "Read it after the with."
            )
        return self._last

    def _finish(self) -> Summary:
        capture = self._session.capture
        self._session.detach()
        while self._ready(capture):
            capture.drop(self._batches.popleft().part(self._taken), "not_taken")
            self._taken = 0
        self._last = self._summary()
        return self._last


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
