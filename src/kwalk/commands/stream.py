# SPDX-License-Identifier: MIT
"""``kwalk stream``: print every call of a function with its stack."""

from __future__ import annotations

import argparse
import sys

from kwalk.commands import options


class StreamCommand:
    """See ``kwalk stream --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "function",
            metavar="FUNC",
            help="kernel function, such as ip_rcv; FUNC+0x1f for an instruction inside it, "
            "r:FUNC for its return",
        )
        parser.add_argument(
            "--method",
            choices=tuple(options.METHODS),
            default="auto",
            help="manual walks the stack in BPF; helper asks the kernel (bpf_get_stackid); "
            "auto is manual where the kernel allows it",
        )
        parser.add_argument(
            "--count", type=options.positive_int, metavar="N", help="stop after N events"
        )
        parser.add_argument(
            "--duration", type=options.seconds, metavar="S", help="stop after S seconds"
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--no-addr", action="store_true", help="leave out addresses")
        options.add_probe_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Stream until told to stop; the summary goes to stderr."""
        from kwalk.capture import Capture
        from kwalk.commands.running import Stopper, announce, run
        from kwalk.report import stream, summary
        from kwalk.symbolize.symbolizer import Symbolizer

        probe_options = options.probe_options(args, options.METHODS[args.method])
        with Stopper() as stopper, Capture(args.function, probe_options) as capture:
            announce("kwalk", capture)
            form = stream.JsonLines if args.format == "json" else stream.Text
            symbolizer = Symbolizer(capture.symbols)
            report = form(symbolizer, addresses=not args.no_addr)
            result, _ = run(capture, stopper, report, args.count, args.duration)
        sys.stderr.write(summary.as_text(result, symbolizer))
        return summary.exit_code(result)


command = StreamCommand()
