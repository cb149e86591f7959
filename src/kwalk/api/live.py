# SPDX-License-Identifier: MIT
"""Sessions of the library: tended by a thread while the ``with`` does something else."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from kwalk.abi import Output
from kwalk.engine.capture import Capture
from kwalk.engine.session import Session
from kwalk.errors import KwalkError, UsageError
from kwalk.model.ledger import Summary
from kwalk.model.stack import Stack
from kwalk.options import validate
from kwalk.options.keywords import Choices, probe_options
from kwalk.options.validate import named

TEND_SECONDS = 0.25


class CaptureLock:
    """A reentrant lock that measures the CPU time spent inside.

    :ivar spent_ns: CPU time in nanoseconds.
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


class Live(ABC):
    """Traces from ``__enter__`` to ``stop`` or ``__exit__``; each instance is for one ``with``."""

    _output: Output

    def __init__(self, name: str, functions: str | Sequence[str], choices: Choices) -> None:
        several = [functions] if isinstance(functions, str) else functions
        self._functions = named("functions", validate.several(str), several)
        if (command := choices.get("command")) is not None:
            choices["command"] = list(named("command", validate.several(str), command))
        self._options = probe_options(choices, self._output)
        if bool(self._functions) == bool(self._options.frequency):
            raise UsageError(
                "either functions or a frequency is needed, and not both",
                f'Say kwalk.{name}("ip_rcv"), or kwalk.{name}(frequency=99).',
            )
        self._call = _call(name, self._functions, choices)
        self._guard = CaptureLock()
        self._session = Session(
            self._functions,
            self._options,
            command=choices.get("command") or (),
            budget=choices.get("budget"),
            spent=lambda: self._guard.spent_ns,
        )
        self._over = threading.Event()
        self._held = ExitStack()
        self._entered = False
        self._exited = False
        self._failure: KwalkError | None = None

    def __enter__(self) -> Self:
        if self._entered:
            raise UsageError("this session has been used already", "Make a new one for each with.")
        with ExitStack() as held:
            session = held.enter_context(self._session)
            if session.budget or session.capture.changeable:
                keeper = threading.Thread(target=self._keep, daemon=True)
                _start(keeper)
                held.callback(keeper.join)
                held.callback(self._over.set)
            self._held = held.pop_all()
            self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            self._over.set()
            with self._guard:
                try:
                    self._session.note_command(self._finish())
                finally:
                    self._exited = True
        del self._session  # it holds the kernel's symbols

    def _keep(self) -> None:
        """Tend the session until it is over; a budget that cannot be kept ends tracing."""
        while not self._over.wait(TEND_SECONDS):
            with self._guard:
                if self._over.is_set() or self._session.capture.stopped:
                    return
                try:
                    if self._session.tend():
                        continue
                except KwalkError as error:
                    self._failure = error
                self._session.detach()
                return

    @abstractmethod
    def _finish(self) -> Summary:
        """Detach, take the remaining hits, and return the summary."""

    def _open(self) -> Capture:
        if not self._entered or self._exited:
            raise UsageError(
                "nothing is being traced" if self._entered else "tracing has not begun",
                "Use what kwalk.trace() and kwalk.stream() return in a with statement.",
            )
        return self._session.capture

    def _summary(self) -> Summary:
        """Return the summary so far, with symbolized differences."""
        summary = self._session.summary()
        if self._failure:
            summary.notes.append(f"tracing ended early: {self._failure.what}")
        for difference in summary.verify.differences if summary.verify else ():
            for stack in difference:
                self._name_frames(stack)
        return summary

    def _name_frames(self, stack: Stack) -> None:
        """Symbolize a stack, once."""
        if not stack.frames:
            stack.frames = tuple(self._session.capture.symbolizer.frames(stack))

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until the command has ended; return whether it has.

        :param seconds: Time limit; None for none.
        :raises UsageError: if no command was given, or ``seconds`` is not a number.
        """
        self._open()
        if not isinstance(seconds, int | float | None):
            raise UsageError(f"{seconds!r} is not a number of seconds", "Give a number, or None.")
        if not self._session.child:
            raise UsageError("there is no command to wait for", "Give one: command=[...].")
        return self._session.child.wait(seconds)

    @property
    def method(self) -> str:
        """Method in use: ``manual`` or ``helper``, which ``auto`` resolves to."""
        return str(self._open().probe.method.name).lower()

    @property
    def attach(self) -> str:
        """Way of attaching in use, such as ``fentry``."""
        return self._open().probe.attach


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # Python's only sign of EAGAIN
        from kwalk.kernel.shortage import Shortage, processes

        raise Shortage(f"kwalk cannot start a thread: {error}", processes()) from None


def _call(name: str, functions: Sequence[str], choices: Choices) -> str:
    given: list[str] = [repr(function) for function in functions]
    given += [f"{key}={value!r}" for key, value in choices.items()]
    return f"kwalk.{name}({', '.join(given)})"
