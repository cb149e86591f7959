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
            option(
                "--stacks",
                choices={"each": "show it", "once": "show it where it is new; else its number"},
                default="each",
                help="stack of each call: each: show it; once: show it where it is new, and its "
                "number with every call",
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
        from kwalk.report import stream, stream_once

        with tracing(args, Output.EVENT) as session:
            form: type[stream.TextStream | stream.JsonLines | stream_once.TextOnce]
            once, json = args.stacks == "once", args.format == "json"
            if json:
                form = stream_once.JsonOnce if once else stream.JsonLines
            else:
                form = stream_once.TextOnce if once else stream.TextStream
            symbolizer = session.capture.symbolizer
            report = form(symbolizer, addresses=shared_options.addresses(args))
            finished = run(session, report, args.count, args.duration)
        return finished.conclude(symbolizer, args.strict)


command = StreamCommand()
