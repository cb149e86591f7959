# SPDX-License-Identifier: MIT
"""``kwalk stream``: print each call of a function with its stack."""

from __future__ import annotations

import argparse

from kwalk.abi import Output
from kwalk.cli import shared_options, trace_options, values
from kwalk.cli.options import CommandLine, option


class StreamCommand:
    """See ``kwalk stream --help``."""

    line = CommandLine(
        "kwalk stream",
        options=(
            *trace_options.TARGET,
            trace_options.METHOD,
            option("--count", type=values.positive_int, metavar="N", help="stop after N events"),
            shared_options.DURATION,
            shared_options.formats(
                text="a block of lines per call", json="one JSON object per line, the ledger last"
            ),
            shared_options.ADDRESSES,
            trace_options.RING,
            *trace_options.TRACING,
        ),
        usage=trace_options.USAGE,
        epilog=trace_options.EPILOG,
    )

    def run(self, args: argparse.Namespace) -> int:
        """Stream until told to stop; the summary goes to stderr."""
        from kwalk.cli.streaming import run
        from kwalk.cli.tracing import tracing
        from kwalk.report import stream

        with tracing(args, Output.EVENT) as session:
            form = stream.JsonLines if args.format == "json" else stream.TextStream
            symbolizer = session.capture.symbolizer
            report = form(symbolizer, addresses=shared_options.addresses(args))
            finished = run(session, report, args.count, args.duration)
        return finished.conclude(symbolizer, args.strict)


command = StreamCommand()
