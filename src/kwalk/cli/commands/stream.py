# SPDX-License-Identifier: MIT
"""``kwalk stream``: print every call of a function with its stack."""

from __future__ import annotations

import argparse

from kwalk.abi import Output
from kwalk.cli import options, trace_options, values


class StreamCommand:
    """See ``kwalk stream --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add(
            parser,
            trace_options.TARGET,
            trace_options.METHOD,
            options.option(
                "--count", type=values.positive_int, metavar="N", help="stop after N events"
            ),
            options.DURATION,
            options.formats(
                text="a block of lines a call", json="a JSON object a line, the ledger last"
            ),
            options.ADDRESSES,
            trace_options.RING,
            *trace_options.TRACING,
        )
        trace_options.takes_command(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Stream until told to stop; the summary goes to stderr."""
        from kwalk.cli.streaming import run
        from kwalk.cli.tracing import tracing
        from kwalk.report import stream

        with tracing(args, Output.EVENT) as session:
            form = stream.JsonLines if args.format == "json" else stream.TextStream
            symbolizer = session.capture.symbolizer
            report = form(symbolizer, addresses=options.addresses(args))
            finished = run(session, report, args.count, args.duration)
        return finished.conclude(symbolizer, args.strict)


command = StreamCommand()
