# SPDX-License-Identifier: MIT
"""``kwalk stream``: print every call of a function with its stack."""

from __future__ import annotations

import argparse

from kwalk.commands import choosing, options, values
from kwalk.transport.abi import Output


class StreamCommand:
    """See ``kwalk stream --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add(
            parser,
            choosing.TARGET,
            choosing.METHOD,
            options.option(
                "--count", type=values.positive_int, metavar="N", help="stop after N events"
            ),
            options.DURATION,
            options.formats(
                text="a block of lines a call", json="a JSON object a line, the ledger last"
            ),
            options.ADDRESSES,
            choosing.RING,
            *choosing.TRACING,
        )
        choosing.takes_command(parser)

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
