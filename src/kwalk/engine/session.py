# SPDX-License-Identifier: MIT
"""A session: one capture with the command, the budget and the summary around it.

The command line (``cli/tracing.py``) and the library (``api/live.py``) trace by this class alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from kwalk.engine.capture import Capture
from kwalk.options.probe import ProbeOptions
from kwalk.support.aborting import at_abort

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.engine.budget import Budget
    from kwalk.engine.traced_command import Child
    from kwalk.model.ledger import Summary
    from kwalk.model.profile import ProfileData


class Session:
    """Traces while in a ``with``; a subclass overrides the methods that do nothing here.

    ``__enter__`` starts the command, which waits, attaches, and lets the command go. ``__exit__``
    detaches and ends a command that still runs.

    :param functions: See ``Capture``.
    :param options: How to trace. The filters get the command's process, too.
    :param command: Program and arguments to run and trace; empty for none.
    :param command_output: Descriptor for the command's output, as ``Child`` takes it.
    :param budget: Share of the used CPU time that tracing may take; None for no limit.
    :param spent: Returns the CPU time of reading in nanoseconds, as ``Budget`` takes it.
    :ivar capture: Set once attached.
    :raises KwalkError: from ``__enter__``, if it cannot be traced.
    """

    capture: Capture
    child: Child | None = None
    budget: Budget | None = None

    def __init__(
        self,
        functions: Sequence[str],
        options: ProbeOptions,
        *,
        command: Sequence[str] = (),
        command_output: int | None = None,
        budget: float | None = None,
        spent: Callable[[], int] | None = None,
    ) -> None:
        self._functions = list(functions)
        self._options = options
        self._command = command
        self._command_output = command_output
        self._share = budget
        self._spent = spent
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            options = self._options
            if self._command:
                from kwalk.engine.traced_command import Child

                self.child = held.enter_context(Child(self._command, self._command_output))
                held.enter_context(at_abort(self.child.kill))
                pids = *options.filters.pids, self.child.pid
                options = options._replace(filters=options.filters._replace(pids=pids))
            capture = Capture(self._functions, options, self.attaching)
            self.capture = held.enter_context(capture)
            self.attached()
            if self.child:
                self.child.go()
            if self._share:
                from kwalk.engine.budget import Budget

                self.budget = Budget(self.capture, self._share, self.notice, self._spent)
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def attaching(self, done: int, total: int) -> None:
        """Progress of attaching to many functions; an exception from here ends it."""

    def attached(self) -> None:
        """The probe is attached, and the command waits to run."""

    def detaching(self) -> None:
        """The probe is about to be detached."""

    def notice(self, text: str) -> None:
        """A line for the user, while tracing goes on."""

    def tend(self) -> bool:
        """Follow changes around the probe and adjust the sampling chance.

        Call it twice a second or more often while tracing.

        :return: False if the budget cannot be kept.
        """
        self.capture.look()
        for text in self.capture.news():
            self.notice(text)
        return self.budget is None or self.budget.tend()

    def detach(self) -> None:
        """Detach the probe and wait for programs that still run; does nothing the second time."""
        if not self.capture.stopped:
            self.detaching()
        self.capture.stop()

    def summary(self) -> Summary:
        """Return the summary so far, the budget's share included."""
        summary = self.capture.summary()
        if self.budget:
            self.budget.report(summary)
        return summary

    def conclude(self) -> Summary:
        """Return the final summary, once detached and read to the end."""
        summary = self.summary()
        self.note_command(summary)
        return summary

    def note_command(self, summary: Summary) -> None:
        """Add to a final summary how the command ended, unless it succeeded."""
        if self.child and (note := self.child.note()):
            summary.notes.append(note)

    def finish(self) -> ProfileData:
        """Detach; return all counts with the final summary (``Output.COUNT``)."""
        from kwalk.model.profile import ProfileData

        self.detach()
        counts = self.capture.counts()
        return ProfileData(counts, self.conclude())
