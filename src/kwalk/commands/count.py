# SPDX-License-Identifier: MIT
"""``kwalk count``: how often each stack leads to a function."""

from __future__ import annotations

import argparse

from kwalk.commands import options
from kwalk.errors import UsageError
from kwalk.transport.abi import Method, Output


class CountCommand:
    """See ``kwalk count --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_target(parser)
        parser.add_argument(
            "--duration", type=options.seconds, metavar="S", help="stop after S seconds"
        )
        parser.add_argument(
            "--interval",
            type=options.seconds,
            metavar="S",
            help="print what was counted every S seconds as well",
        )
        parser.add_argument(
            "--top", type=options.positive_int, metavar="N", help="print the N hottest stacks only"
        )
        parser.add_argument(
            "--per-pid",
            action="store_true",
            help="count each process apart; in softirqs and interrupts that is the one which "
            "happened to run",
        )
        parser.add_argument("--format", choices=("text", "json", "folded"), default="text")
        options.add_address_option(parser)
        options.add_probe_options(parser)
        options.add_budget_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Count until told to stop, then print the stacks; the summary goes to stderr."""
        from kwalk.capture import Capture
        from kwalk.commands.budget import Budget
        from kwalk.commands.counting import run
        from kwalk.commands.running import Stopper, announce
        from kwalk.report import count
        from kwalk.symbolize.symbolizer import Symbolizer

        if args.interval and args.format == "folded":
            raise UsageError(
                "--interval does not go with --format folded",
                "Intervals and totals would run together there; use --format json.",
            )
        if args.interval and args.budget:
            raise UsageError(
                "--interval does not go with --budget",
                "What calls stand for is exact enough for all of them together only.",
            )
        probe_options = options.probe_options(args, Output.COUNT)
        with Stopper() as stopper, Capture(args.function, probe_options) as capture:
            if args.interval and capture.probe.method == Method.HELPER:
                raise UsageError(
                    "the helper's stacks cannot be read while it counts",
                    "Looking one up can drop another (kernel/bpf/stackmap.c). Leave out "
                    "--interval, or count by the manual method.",
                )
            announce("kwalk", capture)
            symbolizer = Symbolizer(capture.symbols)
            addresses = options.addresses(args)
            report: count.CountReport
            if args.format == "folded":
                report = count.Folded(symbolizer, args.top)
            elif args.format == "json":
                report = count.Json(symbolizer, addresses, args.top)
            else:
                report = count.Text(symbolizer, addresses, args.top)
            budget = Budget(capture, args.budget) if args.budget else None
            finished = run(capture, stopper, report, args.duration, args.interval, budget)
        return finished.conclude(symbolizer, args.strict)


command = CountCommand()
