# SPDX-License-Identifier: MIT
"""``kwalk record``: record stack counts in a file."""

from __future__ import annotations

import argparse
import sys

from kwalk.abi import Output
from kwalk.cli import extensions, shared_options, trace_options
from kwalk.cli.options import CommandLine, Complete, option

SECOND = 1.0


class RecordCommand:
    """See ``kwalk record --help``."""

    line = CommandLine(
        "kwalk record",
        options=(
            *trace_options.TARGET,
            trace_options.METHOD,
            option(
                "-o",
                "--output",
                type=extensions.check_recording,
                default=shared_options.RECORDING,
                metavar="FILE",
                complete=Complete.FILES,
                help=f"output file; - is standard output (default: {shared_options.RECORDING})",
            ),
            shared_options.DURATION,
            shared_options.PER_WHAT,
            *trace_options.TRACING,
        ),
        usage=trace_options.USAGE,
        epilog=trace_options.EPILOG,
    )

    def run(self, args: argparse.Namespace) -> int:
        """Record until told to stop; the summary goes to stderr."""
        import time

        from kwalk.cli.counting import intervals
        from kwalk.cli.recorder import Recorder
        from kwalk.cli.tracing import Finished, tracing
        from kwalk.errors import OutputError

        with (
            Recorder(args.output) as recorder,
            tracing(args, Output.COUNT, written=recorder.fd) as session,
        ):
            capture, stopper = session.capture, session.stopper
            failed: OutputError | None = None
            step = SECOND if capture.readable else None
            end = session.end(args.duration)
            recorder.patience = lambda stalled: stopper.goes_on(end)
            try:
                recorder.begin(capture.facts(args.words), capture.summary())
                for _ in intervals(session, args.duration, step):
                    counts = capture.counts()
                    recorder.tick(counts, time.monotonic() - capture.started, capture.summary())
            except OutputError as error:
                failed = error
            profile = session.finish()
            counts, summary = profile.counts, profile.summary
            recorder.patience = stopper.patient
            if not failed:
                try:
                    recorder.end(counts, capture.seconds, summary)
                except OutputError as error:
                    failed = error
            if failed:
                recorder.settle(summary.ledger)
        code = Finished(summary, failed).conclude(capture.symbolizer, args.strict)
        if recorder.name:
            from kwalk.report.info import extent

            print(
                f"kwalk: {recorder.name} holds {extent(counts)} ({recorder.size:,} bytes); "
                f"`kwalk report {recorder.name}` shows them",
                file=sys.stderr,
            )
        return code


command = RecordCommand()
