# SPDX-License-Identifier: MIT
"""``kwalk stream``: print every call of a function with its stack."""

from __future__ import annotations

import argparse

from kwalk.commands import filtering, options, values
from kwalk.transport.abi import Output


class StreamCommand:
    """See ``kwalk stream --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_target(parser)
        parser.add_argument(
            "--count", type=values.positive_int, metavar="N", help="stop after N events"
        )
        parser.add_argument(
            "--duration", type=values.seconds, metavar="S", help="stop after S seconds"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        options.add_address_option(parser)
        options.add_probe_options(parser)
        options.add_ring_option(parser)
        options.add_budget_option(parser)
        options.add_shape_options(parser)
        filtering.add_filter_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Stream until told to stop; the summary goes to stderr."""
        from kwalk.commands.running import run
        from kwalk.commands.tracing import tracing
        from kwalk.report import stream

        with tracing(args, Output.EVENT) as session:
            form = stream.JsonLines if args.format == "json" else stream.Text
            symbolizer = session.capture.symbolizer
            report = form(symbolizer, addresses=options.addresses(args))
            finished = run(
                session.capture,
                session.stopper,
                report,
                args.count,
                args.duration,
                session.budget,
                session.conclude,
            )
        return finished.conclude(symbolizer, args.strict)


command = StreamCommand()
