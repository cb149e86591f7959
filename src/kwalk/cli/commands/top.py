# SPDX-License-Identifier: MIT
"""``kwalk top``: live view of the stacks that lead to a function."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from kwalk.abi import Output
from kwalk.cli import shared_options, trace_options, values
from kwalk.cli.options import CommandLine, option
from kwalk.errors import OutputError
from kwalk.support.stdio import Printer
from kwalk.support.text import plural

if TYPE_CHECKING:
    from kwalk.cli.tracing import TracingSession
    from kwalk.model.profile import ProfileData

# Stacks printed at the end, and per interval if standard output is not a terminal.
LAST = 3
TOP = 10
# Bytes kept of the traced command's output.
KEPT_BYTES = 4096


class TopCommand:
    """See ``kwalk top --help``."""

    line = CommandLine(
        "kwalk top",
        options=(
            *trace_options.TARGET,
            trace_options.METHOD,
            option(
                "--interval",
                type=values.seconds,
                default=1.0,
                metavar="S",
                help="refresh every S seconds (default: 1)",
            ),
            shared_options.DURATION,
            shared_options.top(
                "show only the N hottest stacks, also at the end (default: "
                f"{TOP} if standard output is not a terminal; {LAST} at the end)"
            ),
            shared_options.PER_WHAT,
            *trace_options.TRACING,
        ),
        usage=trace_options.USAGE,
        epilog=trace_options.EPILOG,
    )

    def run(self, args: argparse.Namespace) -> int:
        """Show the counts until told to stop, then print the hottest stacks and the summary."""
        import tempfile

        from kwalk.cli.counting import lose
        from kwalk.cli.tracing import Finished, tracing
        from kwalk.engine.capture import Capture

        screen = os.isatty(sys.stdout.fileno()) and os.environ.get("TERM", "dumb") != "dumb"
        with ExitStack() as stack:
            said = stack.enter_context(tempfile.TemporaryFile()) if screen else None
            output = said.fileno() if said else None
            session = stack.enter_context(
                tracing(args, Output.COUNT, Capture.check_readable, output)
            )
            failed = None
            saved: list[str] = []
            printer = Printer()
            try:
                _watch(session, args, printer, screen, saved)
            except OutputError as error:
                failed = error
            profile = session.finish()
            text = _end(profile, args.top or (LAST if screen else TOP), said)
            if failed or not printer.complete(text, session.stopper.patient):
                lose(profile, profile.counts)
            failed = failed or printer.failed
        for text in saved:
            print(f"kwalk: {text}", file=sys.stderr)
        symbolizer = session.capture.symbolizer
        return Finished(profile.summary, failed).conclude(symbolizer, args.strict)


def _watch(
    session: TracingSession,
    args: argparse.Namespace,
    printer: Printer,
    screen: bool,
    saved: list[str],
) -> None:
    """Show the counts until told to stop.

    :param screen: Standard output is a terminal that can be drawn on.
    :param saved: Extended by a line for each recording that is saved.
    :raises OutputError: if standard output fails.
    """
    from kwalk.cli.cost import Meter
    from kwalk.cli.screen import colors, width
    from kwalk.cli.tracing import tell
    from kwalk.cli.watching import LineView, Screen, Watcher
    from kwalk.tui.look import ASCII, UNICODE
    from kwalk.tui.model import Model
    from kwalk.tui.terminal import Terminal

    capture, budget = session.capture, session.budget
    probe = capture.probe
    look = UNICODE if _speaks_unicode() else ASCII
    top = args.top or (None if screen else TOP)
    end = session.end(args.duration)

    def patience(stalled: float) -> bool:
        return session.stopper.goes_on(end)

    model = Model(probe.selection.label, capture.unit, args.per or "", top, args.interval)
    with ExitStack() as stack:
        meter = stack.enter_context(Meter(capture))
        watcher = Watcher(session, model, meter, capture.facts(args.words), saved)
        if budget:
            budget.say = model.tell_sampling if screen else tell
        if not screen:
            watcher.run(LineView(printer, width(40), look, patience), args.duration)
            return
        terminal = stack.enter_context(Terminal(sys.stdout.fileno(), patience))
        if terminal.keyboard >= 0:
            session.stopper.listen(terminal.keyboard)
        watcher.run(Screen(terminal, look, colors()), args.duration)


def _speaks_unicode() -> bool:
    """Whether the terminal of standard output takes UTF-8."""
    import locale

    # With LC_ALL=C Python itself reports UTF-8 (PEP 540).
    encodings = sys.stdout.encoding or "", locale.nl_langinfo(locale.CODESET)
    return all(name.lower().startswith("utf") for name in encodings)


def _end(profile: ProfileData, top: int, said: IO[bytes] | None) -> str:
    """Return the hottest stacks as ``kwalk count`` prints them.

    :param said: Output of the traced command, which precedes them.
    """
    from kwalk.report.count import CountText

    text = CountText(False, top, profile.summary.unit).end(profile)
    return _kept(said) + text if said else text


def _kept(said: IO[bytes]) -> str:
    """Return the last ``KEPT_BYTES`` of the traced command's output."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - KEPT_BYTES))
    text = said.read().decode(errors="replace")
    if size > KEPT_BYTES:
        text = f"({plural(size - KEPT_BYTES, 'byte')} left out)\n" + text.partition("\n")[2]
    return text if not text or text.endswith("\n") else text + "\n"


command = TopCommand()
