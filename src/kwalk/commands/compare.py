# SPDX-License-Identifier: MIT
"""``kwalk compare``: helper and manual on the same calls of a function, side by side."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

from kwalk.commands import filtering, options, screen

if TYPE_CHECKING:
    from kwalk.pairing import Comparison

SECONDS = 3.0


class CompareCommand:
    """See ``kwalk compare --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_target(parser, method=False)
        parser.add_argument(
            "--duration",
            type=options.seconds,
            metavar="S",
            help="how long each run lasts: the one by both methods, and one of each by itself for "
            f"what it costs (default: {SECONDS:g}, or until COMMAND ends)",
        )
        parser.add_argument(
            "--cost",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="measure what each method costs, too (default: yes)",
        )
        parser.add_argument(
            "--top",
            type=options.positive_int,
            metavar="N",
            help="pairs of stacks to show of each kind, the most frequent (default: 1 as text, 10 "
            "in the page, all in JSON)",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--html", metavar="FILE", help="write a page, too; it needs no network")
        options.add_probe_options(parser, verify=False)
        options.add_ring_option(parser)
        filtering.add_filter_options(parser)
        parser.set_defaults(budget=None)
        parser.epilog = (
            "-- COMMAND: run this and trace its calls only: once by both methods, and once by each "
            "for its cost (unless --no-cost)."
        )

    def run(self, args: argparse.Namespace) -> int:
        """Trace, then print; exit code 1 if --strict was given and a call was lost."""
        from kwalk.commands.comparing import compare
        from kwalk.replacing import Replacement
        from kwalk.report.summary import lost_any

        if args.duration is None and not args.workload:
            args.duration = SECONDS
        # Made before time is spent on what it is to hold.
        with Replacement(args.html) if args.html else nullcontext() as page:
            comparison = compare(args)
            try:
                _print(comparison, args)
            finally:
                if page:
                    from kwalk.report import compare_page

                    page.write(compare_page.as_html(comparison, args.top or 10))
                    page.finish()
        return int(args.strict and any(map(lost_any, comparison.ledgers)))


def _print(comparison: Comparison, args: argparse.Namespace) -> None:
    import json

    from kwalk.output import write

    if args.format == "json":
        from kwalk.report.compare_data import as_data

        write(json.dumps(as_data(comparison, args.top), separators=(",", ":")) + "\n")
        return
    from kwalk.report.compare import as_text

    write(as_text(comparison, screen.width(70), args.top or 1, screen.colors()))


command = CompareCommand()
