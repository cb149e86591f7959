# SPDX-License-Identifier: MIT
"""``kwalk top``: a live view of the stacks that lead to a function."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from kwalk.commands import filtering, options
from kwalk.errors import OutputError, UsageError
from kwalk.output import write
from kwalk.transport.abi import Method, Output, Unwinder

if TYPE_CHECKING:
    from kwalk.capture import Capture
    from kwalk.commands.tracing import Session
    from kwalk.profile import Profile

# How many stacks are printed at the end, and in lines for each interval.
LAST = 3
TOP = 10
# Of the output of a command that was run meanwhile.
KEPT_BYTES = 4096


class TopCommand:
    """See ``kwalk top --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_target(parser)
        parser.add_argument(
            "--interval",
            type=options.seconds,
            default=1.0,
            metavar="S",
            help="look every S seconds (default: 1)",
        )
        parser.add_argument(
            "--duration", type=options.seconds, metavar="S", help="stop after S seconds"
        )
        parser.add_argument(
            "--top",
            type=options.positive_int,
            metavar="N",
            help=f"show the N hottest stacks only, at the end as well (where standard output is no "
            f"terminal: {TOP}; at the end: {LAST})",
        )
        options.add_per_option(parser)
        options.add_probe_options(parser)
        options.add_budget_option(parser)
        options.add_shape_options(parser)
        filtering.add_filter_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Show what is counted until told to stop; then as ``kwalk count`` ends."""
        import tempfile

        from kwalk.commands.running import Finished
        from kwalk.commands.tracing import tracing
        from kwalk.profile import Profile

        def check(capture: Capture) -> None:
            if capture.probe.method == Method.HELPER:
                raise UsageError(
                    "the helper's stacks cannot be read while it counts",
                    "Looking one up can drop another (kernel/bpf/stackmap.c). Watch by the manual "
                    "method, or use kwalk count.",
                )

        screen = os.isatty(sys.stdout.fileno()) and os.environ.get("TERM", "dumb") != "dumb"
        with ExitStack() as stack:
            said = stack.enter_context(tempfile.TemporaryFile()) if screen else None
            output = said.fileno() if said else None
            session = stack.enter_context(tracing(args, Output.COUNT, check, output))
            failed = None
            saved: list[str] = []
            try:
                _watch(session, args, screen, saved)
            except OutputError as error:
                failed = error
            capture = session.capture
            capture.stop()
            counts, summary = capture.counts(), capture.summary()
            session.conclude(summary)
            profile = Profile(counts, summary)
            failed = failed or _print(profile, args.top or (LAST if screen else TOP), said)
        for text in saved:
            print(f"kwalk: {text}", file=sys.stderr)
        return Finished(summary, failed).conclude(capture.symbolizer, args.strict)


def _watch(session: Session, args: argparse.Namespace, screen: bool, saved: list[str]) -> None:
    """Show what is counted until told to stop.

    :param screen: Standard output is a terminal that can be drawn on.
    :param saved: Takes a line for each recording that was written.
    :raises OutputError: if it can't be shown any more.
    """
    from kwalk.commands.cost import Meter
    from kwalk.commands.screen import colors, width
    from kwalk.commands.watching import Lines, Screen, Watcher
    from kwalk.recording.facts import facts
    from kwalk.top.look import ASCII, UNICODE
    from kwalk.top.model import Model
    from kwalk.top.terminal import Terminal

    capture, budget = session.capture, session.budget
    probe = capture.probe
    look = UNICODE if _speaks_unicode() else ASCII
    top = args.top or (None if screen else TOP)
    model = Model(probe.selection.label, capture.unit, args.per or "", top, args.interval)
    unwinder = Unwinder(probe.unwinder).name.lower().replace("_", " ")
    known = facts(args.words, unwinder, capture.symbols.address("_text"))
    with ExitStack() as stack:
        meter = stack.enter_context(Meter(capture))
        watcher = Watcher(session, model, meter, known, saved)
        if not screen:
            watcher.run(Lines(width(40), look), args.duration)
            return
        terminal = stack.enter_context(Terminal(sys.stdout.fileno()))
        if terminal.keyboard >= 0:
            session.stopper.listen(terminal.keyboard)
        if budget:
            budget.say = model.tell_sampling
        watcher.run(Screen(terminal, look, colors()), args.duration)


def _speaks_unicode() -> bool:
    """Whether what reads standard output takes UTF-8."""
    import locale

    # With LC_ALL=C Python's own answer is UTF-8 all the same (PEP 540).
    encodings = sys.stdout.encoding or "", locale.nl_langinfo(locale.CODESET)
    return all(name.lower().startswith("utf") for name in encodings)


def _print(profile: Profile, top: int, said: IO[bytes] | None) -> OutputError | None:
    """Print the hottest stacks, as ``kwalk count`` does; return why that can't be.

    :param said: What a command printed meanwhile comes first.
    """
    from kwalk.report.count import Text

    try:
        if said:
            _pass_on(said)
        write(Text(False, top, profile.summary.unit).end(profile))
    except OutputError as error:
        return error
    return None


def _pass_on(said: IO[bytes]) -> None:
    """Print the end of what a command said while the screen was not its own."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - KEPT_BYTES))
    text = said.read().decode(errors="replace")
    if size > KEPT_BYTES:
        text = f"({size - KEPT_BYTES:,} bytes left out)\n" + text.partition("\n")[2]
    if text:
        write(text if text.endswith("\n") else text + "\n")


command = TopCommand()
