# SPDX-License-Identifier: MIT
"""``kwalk count``: counts of the stacks that lead to a function."""

from __future__ import annotations

import argparse

from kwalk.abi import Output
from kwalk.cli import shared_options, trace_options, values
from kwalk.cli.options import CommandLine, Kind, option
from kwalk.errors import UsageError


class CountCommand:
    """See ``kwalk count --help``."""

    line = CommandLine(
        "kwalk count",
        options=(
            *trace_options.TARGET,
            trace_options.METHOD,
            shared_options.DURATION,
            option(
                "--interval",
                type=values.seconds,
                metavar="S",
                help="also print the counts of every S seconds",
            ),
            shared_options.top("print only the N hottest stacks"),
            shared_options.PER_WHAT,
            option(
                "--per-pid",
                kind=Kind.CONSTANT,
                dest="per",
                const="pid",
                help="same as --per pid",
            ),
            shared_options.formats(
                text="stacks with their counts, the hottest last",
                json="one JSON object per line: each interval, then the total",
                folded="one line per stack, root first, for flame graph tools",
            ),
            shared_options.ADDRESSES,
            *trace_options.TRACING,
        ),
        usage=trace_options.USAGE,
        epilog=trace_options.EPILOG,
    )

    def run(self, args: argparse.Namespace) -> int:
        """Count until told to stop, then print the stacks; the summary goes to stderr."""
        from kwalk.cli.counting import run
        from kwalk.cli.tracing import tracing
        from kwalk.engine.capture import Capture

        if args.interval and args.format == "folded":
            raise UsageError(
                "--interval cannot be combined with --format folded",
                "Folded lines do not tell intervals from totals; use --format json.",
            )
        if args.interval and (args.budget or args.sample):
            raise UsageError(
                "--interval cannot be combined with --budget or --sample",
                "Scaled counts are exact only for the whole run.",
            )

        def check(capture: Capture) -> None:
            if args.interval:
                capture.check_readable()

        with tracing(args, Output.COUNT, check) as session:
            from kwalk.report import count

            capture = session.capture
            addresses = shared_options.addresses(args)
            report: count.CountReport
            if args.format == "folded":
                report = count.Folded(args.top)
            elif args.format == "json":
                report = count.Json(addresses, args.top)
            else:
                report = count.CountText(addresses, args.top, capture.unit)
            finished = run(session, report, args.duration, args.interval)
        return finished.conclude(capture.symbolizer, args.strict)


command = CountCommand()
