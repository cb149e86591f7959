# SPDX-License-Identifier: MIT
"""A capture in the hands of Python code: from the beginning of a ``with`` to its end.

Its budget is kept by a thread, while the code does something else; one thread at a time is let at
the capture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from kwalk.abi import Output
from kwalk.engine.budget import STEP_SECONDS, Budget
from kwalk.engine.capture import Capture
from kwalk.engine.traced_command import Child
from kwalk.errors import UsageError
from kwalk.model.ledger import Summary
from kwalk.model.stack import Stack
from kwalk.options import validate
from kwalk.options.keywords import Choices, probe_options


class CaptureLock:
    """Lets in one thread at a time, which may come in again.

    :ivar spent_ns: CPU time that was spent inside, in nanoseconds.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._began = 0
        self.spent_ns = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._began = time.thread_time_ns()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.spent_ns += time.thread_time_ns() - self._began
        self._lock.release()


class Live:
    """Traces from ``__enter__`` to ``stop`` or ``__exit__``."""

    _output: Output

    def __init__(self, name: str, functions: str | Sequence[str], choices: Choices) -> None:
        several = [functions] if isinstance(functions, str) else functions
        self._functions = validate.several("functions", several, str)
        if (command := choices.get("command")) is not None:
            choices["command"] = list(validate.several("command", command, str))
        self._options = probe_options(choices, self._output)
        if bool(self._functions) == bool(self._options.frequency):
            raise UsageError(
                "either functions are traced or samples are taken, and one of them is needed",
                f'Say kwalk.{name}("ip_rcv"), or kwalk.{name}(frequency=99).',
            )
        self._command = choices.get("command")
        self._share = choices.get("budget")
        self._call = _call(name, self._functions, choices)
        self._capture: Capture | None = None
        self._child: Child | None = None
        self._budget: Budget | None = None
        self._guard = CaptureLock()
        self._over = threading.Event()
        self._held = ExitStack()
        self._entered = False
        self._stopped = False

    def __enter__(self) -> Self:
        if self._entered:
            raise UsageError("this has been traced already", "Make a new one for each with.")
        with ExitStack() as held:
            options = self._options
            if self._command:
                self._child = held.enter_context(Child(self._command))
                pids = *options.filters.pids, self._child.pid
                options = options._replace(filters=options.filters._replace(pids=pids))
            capture = held.enter_context(Capture(list(self._functions), options))
            if self._child:
                self._child.go()
            if self._share:
                self._budget = Budget(capture, self._share, spent=lambda: self._guard.spent_ns)
            if self._share or capture.changeable:
                keeper = threading.Thread(target=self._keep, args=(capture, self._budget))
                keeper.daemon = True
                _start(keeper)
                held.callback(keeper.join)
                held.callback(self._over.set)
            self._held = held.pop_all()
            self._entered = True
            self._capture = capture
        return self

    def __exit__(self, *_: object) -> None:
        assert self._capture
        with self._held:
            self._over.set()
            with self._guard:
                try:
                    summary = self._finish(self._capture)
                    if self._child and (note := self._child.note()):
                        summary.notes.append(note)
                finally:
                    self._capture = None

    def _keep(self, capture: Capture, budget: Budget | None) -> None:
        """Look after it until it is over; a budget that can't be kept ends tracing."""
        while not self._over.wait(STEP_SECONDS / 2):
            with self._guard:
                if self._over.is_set() or self._stopped:
                    return
                capture.look()
                if budget and not budget.tend():
                    self._detach(capture)
                    return

    def _finish(self, capture: Capture) -> Summary:
        """Take what there is, now that this is its end; return its summary."""
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
            self._stopped = True
        capture.stop()

    def _summary_of(self, capture: Capture) -> Summary:
        """Return the summary as it is now, the frames of its differences named."""
        summary = capture.summary()
        if self._budget:
            self._budget.report(summary)
        for difference in summary.verify.differences if summary.verify else ():
            for stack in difference:
                name_frames(capture, stack)
        return summary

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until the command that was given has ended; return whether it has.

        :param seconds: At most so long; None for as long as it takes.
        :raises UsageError: if no command was given, or ``seconds`` is no number.
        """
        self._open()
        if not isinstance(seconds, int | float | None):
            raise UsageError(f"{seconds!r} is no number of seconds", "Give one, or None.")
        if not self._child:
            raise UsageError("there is no command to wait for", "Give one: command=[...].")
        return self._child.wait(seconds)

    @property
    def method(self) -> str:
        """``manual`` or ``helper``: what ``auto`` has become."""
        return str(self._open().probe.method.name).lower()

    @property
    def attach(self) -> str:
        """How the kernel calls the program."""
        return self._open().probe.attach


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # all that Python says of EAGAIN
        from kwalk.kernel.shortage import Shortage, processes

        raise Shortage(f"kwalk cannot start a thread: {error}", processes()) from None


def name_frames(capture: Capture, stack: Stack) -> None:
    """Name the frames of a stack, if that has not been done."""
    if not stack.frames:
        stack.frames = tuple(capture.symbolizer.frames(stack))


def _call(name: str, functions: Sequence[str], choices: Choices) -> str:
    given: list[str] = [repr(function) for function in functions]
    given += [f"{key}={value!r}" for key, value in choices.items()]
    return f"kwalk.{name}({', '.join(given)})"
