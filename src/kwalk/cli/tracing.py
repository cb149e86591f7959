# SPDX-License-Identifier: MIT
"""Sessions of the command line: signals, the terminal's notices, the loop of every command."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

from kwalk.abi import Output
from kwalk.cli import trace_options
from kwalk.cli.stopper import Stopper
from kwalk.engine.capture import Capture
from kwalk.engine.session import Session
from kwalk.errors import CommandEnded, OutputError, UsageError
from kwalk.options.keywords import Choices, probe_options
from kwalk.options.probe import ProbeOptions
from kwalk.probe.probe import selection_notes
from kwalk.support.stdio import check_stdout
from kwalk.support.text import plural

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.model.ledger import Summary
    from kwalk.symbolize.symbolizer import Symbolizer

SAY_SECONDS = 2.0
LOOK_SECONDS = 0.5
LEAST_SECONDS = 0.02  # between looks that are due
# Functions; detaching from fewer is not noticeable.
MANY = 100


class TracingSession(Session):
    """A session with signals, and notices on stderr.

    :param choices: Tracing options, from which ``options`` were made.
    :param prog: Prefix of notices.
    :param check: Called when attached; raises if the probe is unsuitable.
    :param written: Descriptor of the output, as ``Stopper`` takes it.
    :ivar say: Called with each notice while tracing.
    """

    def __init__(
        self,
        functions: list[str],
        options: ProbeOptions,
        choices: Choices,
        *,
        prog: str = "kwalk",
        command_output: int | None = None,
        check: Callable[[Capture], None] = lambda capture: None,
        written: int | None = None,
    ) -> None:
        super().__init__(
            functions,
            options,
            command=choices.get("command") or (),
            command_output=command_output,
            budget=choices.get("budget"),
        )
        self.stopper = Stopper(written)
        self.say: Callable[[str], object] = tell
        self._choices = choices
        self._prog = prog
        self._check = check

    def __enter__(self) -> Self:
        self.stopper.__enter__()
        try:
            self._say_at = time.monotonic() + SAY_SECONDS
            return super().__enter__()
        except BaseException as error:
            self.stopper.__exit__()
            if isinstance(error, CommandEnded) and self.stopper.interrupted:
                raise KeyboardInterrupt from error  # the terminal's Ctrl-C ended the command, too
            raise

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)
        finally:
            self.stopper.__exit__()

    def attaching(self, done: int, total: int) -> None:
        """Print the progress of a slow attach; let Ctrl-C end it."""
        if self.stopper.interrupted:
            if done >= MANY:
                _say_detaching(done)
            raise KeyboardInterrupt
        if time.monotonic() >= self._say_at:
            self._say_at += SAY_SECONDS
            how = f"attached to {done:,} of" if done else "attaching to"
            tell(f"{how} {total:,}")

    def attached(self) -> None:
        """Print functions and end condition; stop when the traced processes have ended."""
        self._check(self.capture)
        if self.child:
            # Ctrl-C came while attaching: the command, which still waits, is not to run.
            if self.stopper.interrupted:
                raise KeyboardInterrupt
            self.stopper.until([self.child.pid])
            ends = f"until {self._command[0]} ends"
        else:
            if not self._choices.get("follow"):
                self.stopper.until(self._choices.get("pids", ()))
            ends = "Ctrl-C ends"
        probe = self.capture.probe
        method = str(probe.method.name).lower()
        number = f": {plural(probe.functions, 'function')}" if probe.functions > 1 else ""
        label = f"tracing {probe.selection.label}{number} ({method} by {probe.attach})"
        for text in [f"{label}; {ends}", *probe.notes, *selection_notes(probe)]:
            tell(text, self._prog)

    def detaching(self) -> None:
        """Print a notice if it will be slow."""
        if self.capture.probe.functions >= MANY:
            _say_detaching(self.capture.probe.functions)

    def notice(self, text: str) -> None:
        """Pass it to ``say``."""
        self.say(text)

    def end(self, duration: float | None) -> float:
        """Return the end of a duration that began with attaching (CLOCK_MONOTONIC, seconds)."""
        return math.inf if duration is None else self.capture.started + duration

    def looks(self, end: float, due: Callable[[float], float]) -> Iterator[float]:
        """Yield the time of each look at the capture until told to stop; the first one is now.

        It sleeps and tends the session in between. Times are in seconds of CLOCK_MONOTONIC.

        :param due: Returns the time of the next look, given the last one. They are at most
            ``LOOK_SECONDS`` apart.
        """
        stopper = self.stopper
        while not stopper.stopped and (now := time.monotonic()) < end:
            yield now
            until = min(
                end, due(now), now + LOOK_SECONDS, max(self.capture.due, now + LEAST_SECONDS)
            )
            stopper.wait(max(0.0, until - time.monotonic()))
            if not self.tend():
                return


class Finished(NamedTuple):
    """Result of a session.

    :ivar failed: Error of standard output that ended it.
    """

    summary: Summary
    failed: OutputError | None = None

    def conclude(self, symbolizer: Symbolizer, strict: bool) -> int:
        """Print the summary on stderr; return the exit code.

        :param strict: See ``report.summary.exit_code``.
        :raises OutputError: ``failed``.
        """
        from kwalk.report import summary as summaries

        sys.stderr.write(summaries.as_text(self.summary, symbolizer))
        if self.failed:
            raise self.failed
        return summaries.exit_code(self.summary, strict)


def tracing(
    args: argparse.Namespace,
    output: Output,
    check: Callable[[Capture], None] = lambda capture: None,
    command_output: int | None = None,
    refine: Callable[[ProbeOptions], ProbeOptions] = lambda options: options,
    written: int | None = None,
) -> TracingSession:
    """Make the session of a command line, to be entered by ``with``.

    :param args: With the options of ``trace_options``, and ``workload``.
    :param refine: Adds the options that the command sets itself.
    :param written: See ``TracingSession``; None is standard output, which is checked.
    :raises UsageError: for a wrong option.
    """
    if written is None:
        check_stdout()
    if not args.functions and not args.frequency:
        raise UsageError(
            "there is nothing to trace",
            "Give a kernel function, a pattern, a tracepoint (t:sched:sched_switch), or --freq 99.",
        )
    choices = trace_options.choices(args)
    if args.workload:
        choices["command"] = args.workload
    return TracingSession(
        args.functions,
        refine(probe_options(choices, output)),
        choices,
        command_output=command_output,
        check=check,
        written=written,
    )


def _say_detaching(number: int) -> None:
    tell(f"detaching from {number:,} functions; Ctrl-C leaves that to the kernel")


def tell(text: str, prog: str = "kwalk") -> None:
    """Print a notice on stderr."""
    print(f"{prog}: {text}", file=sys.stderr, flush=True)
