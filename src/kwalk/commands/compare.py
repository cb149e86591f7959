# SPDX-License-Identifier: MIT
"""``kwalk compare``: helper and manual on the same calls of a function, side by side."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kwalk.commands import choosing, options

if TYPE_CHECKING:
    from kwalk.pairing import Comparison

SECONDS = 3.0


class CompareCommand:
    """See ``kwalk compare --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add(
            parser,
            choosing.TARGET,
            options.duration(
                "how long each run lasts: the one by both methods, and one of each by itself for "
                f"what it costs (default: {SECONDS:g}, or until COMMAND ends)"
            ),
            options.option(
                "--cost",
                action=argparse.BooleanOptionalAction,
                default=True,
                help="measure what each method costs, too (default: yes)",
            ),
            options.top(
                "pairs of stacks to show of each kind, the most frequent (default: 1 as text, 10 "
                "in the page, all in JSON)"
            ),
            options.formats(
                text="both stacks of a call side by side, then what each method lost and costs",
                json="one JSON object",
            ),
            options.ADDRESSES,
            options.page("a page"),
            choosing.RING,
            choosing.PROBE,
            choosing.VERIFY,
            choosing.SHAPE,
            choosing.FILTERS,
        )
        choosing.takes_command(parser)
        parser.epilog = (
            "-- COMMAND: run this and trace its calls only: once by both methods, and once by each "
            "for its cost (unless --no-cost)."
        )

    def run(self, args: argparse.Namespace) -> int:
        """Trace, then print; exit code 1 as ``report.summary.exit_code`` has it, of either side."""
        from kwalk.commands.comparing import compare
        from kwalk.commands.page import open_page, write_page
        from kwalk.report.summary import lost_any

        if args.duration is None and not args.workload:
            args.duration = SECONDS
        page = open_page(args.html) if args.html else None
        comparison = compare(args)
        try:
            _print(comparison, args)
        finally:
            if page:
                from kwalk.report import compare_page

                write_page(page, compare_page.as_html(comparison, args.top or 10, bool(args.addr)))
        lost = args.strict and any(map(lost_any, comparison.ledgers))
        return int(lost or bool(comparison.verify and comparison.verify.mismatches))


def _print(comparison: Comparison, args: argparse.Namespace) -> None:
    import json
    import os
    import shutil

    from kwalk.commands.output import write

    addresses = options.addresses(args)
    if args.format == "json":
        from kwalk.report.compare_data import as_data

        data = as_data(comparison, args.top, addresses)
        write(json.dumps(data, separators=(",", ":")) + "\n")
        return
    from kwalk.report.compare import as_text

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = max(70, shutil.get_terminal_size((100, 40)).columns)
    write(as_text(comparison, width, args.top or 1, color, addresses))


command = CompareCommand()
