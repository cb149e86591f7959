# SPDX-License-Identifier: MIT
"""``kwalk stream``: print every call of a function with its stack."""

from __future__ import annotations

import argparse

from kwalk.commands import options
from kwalk.transport.abi import Output


class StreamCommand:
    """See ``kwalk stream --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_target(parser)
        parser.add_argument(
            "--count", type=options.positive_int, metavar="N", help="stop after N events"
        )
        parser.add_argument(
            "--duration", type=options.seconds, metavar="S", help="stop after S seconds"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        options.add_address_option(parser)
        options.add_probe_options(parser)
        options.add_ring_option(parser)
        options.add_budget_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Stream until told to stop; the summary goes to stderr."""
        from kwalk.capture import Capture
        from kwalk.commands.budget import Budget
        from kwalk.commands.running import Stopper, announce, run
        from kwalk.report import stream
        from kwalk.symbolize.symbolizer import Symbolizer

        probe_options = options.probe_options(args, Output.EVENT)
        with Stopper() as stopper, Capture(args.function, probe_options) as capture:
            announce("kwalk", capture)
            form = stream.JsonLines if args.format == "json" else stream.Text
            symbolizer = Symbolizer(capture.symbols)
            report = form(symbolizer, addresses=options.addresses(args))
            budget = Budget(capture, args.budget) if args.budget else None
            finished = run(capture, stopper, report, args.count, args.duration, budget)
        return finished.conclude(symbolizer, args.strict)


command = StreamCommand()
