# SPDX-License-Identifier: MIT
"""From a command line to a capture that has begun: what is traced, whose calls, until when."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from kwalk.abi import Output
from kwalk.cli import trace_options
from kwalk.cli.running import MANY, Stopper, announce, say_detaching, tell
from kwalk.engine.capture import Capture
from kwalk.errors import UsageError
from kwalk.options.keywords import probe_options
from kwalk.options.probe import ProbeOptions
from kwalk.support.aborting import at_abort
from kwalk.support.stdio import check_stdout

if TYPE_CHECKING:  # what is not needed before something is traced, or by few
    from kwalk.engine.budget import Budget
    from kwalk.engine.traced_command import Child
    from kwalk.model.ledger import Summary

SAY_SECONDS = 2.0


class Session(NamedTuple):
    """What a command works with.

    :ivar budget: What to keep to, if that was asked for.
    """

    stopper: Stopper
    capture: Capture
    budget: Budget | None
    child: Child | None

    def conclude(self, summary: Summary) -> None:
        """Write into the summary what only this knows."""
        if self.budget:
            self.budget.report(summary)
        if self.child and (note := self.child.note()):
            summary.notes.append(note)


class _Progress:
    """Says how far attaching has come, where it takes long, and lets Ctrl-C end it."""

    def __init__(self, stopper: Stopper) -> None:
        self._stopper = stopper
        self._say_at = time.monotonic() + SAY_SECONDS

    def __call__(self, done: int, total: int) -> None:
        if self._stopper.interrupted:
            if done >= MANY:
                say_detaching(done)
            raise KeyboardInterrupt
        if time.monotonic() >= self._say_at:
            self._say_at += SAY_SECONDS
            how = f"attached to {done:,} of" if done else "attaching to"
            tell(f"{how} {total:,}")


@contextmanager
def tracing(
    args: argparse.Namespace,
    output: Output,
    check: Callable[[Capture], None] = lambda capture: None,
    workload_output: int | None = None,
    refine: Callable[[ProbeOptions], ProbeOptions] = lambda options: options,
    written: int | None = None,
) -> Iterator[Session]:
    """Attach, and let the user's command run, if there is one.

    :param check: Looks at what has been attached, and raises if it won't do.
    :param workload_output: See ``Child``.
    :param refine: What the command itself chooses.
    :param written: See ``Stopper``.
    :raises KwalkError: if that cannot be.
    """
    if written is None:
        check_stdout()
    if not args.functions and not args.frequency:
        raise UsageError(
            "nothing was given to trace",
            "Give a kernel function, a pattern, a tracepoint (t:sched:sched_switch), or --freq 99.",
        )
    choices = trace_options.choices(args)
    with ExitStack() as stack:
        stopper = stack.enter_context(Stopper(written))
        child = None
        if args.workload:
            from kwalk.engine.traced_command import Child

            child = stack.enter_context(Child(args.workload, workload_output))
            stack.enter_context(at_abort(child.kill))
        chosen = refine(probe_options(choices, output, child.pid if child else None))
        capture = stack.enter_context(Capture(args.functions, chosen, _Progress(stopper)))
        check(capture)
        if child:
            stopper.until([child.pid])
            announce("kwalk", capture, f"until {args.workload[0]} ends")
            child.go()
        else:
            if not args.follow:
                stopper.until(args.pids)
            announce("kwalk", capture)
        budget = None
        if share := choices.get("budget"):
            from kwalk.engine.budget import Budget

            budget = Budget(capture, share, tell)
        yield Session(stopper, capture, budget, child)
