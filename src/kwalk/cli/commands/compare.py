# SPDX-License-Identifier: MIT
"""``kwalk compare``: stacks and overhead of helper and manual on the same calls."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from kwalk.cli import screen, shared_options, trace_options
from kwalk.cli.options import CommandLine, Kind, option

if TYPE_CHECKING:
    from kwalk.model.comparison import Comparison

SECONDS = 3.0


class CompareCommand:
    """See ``kwalk compare --help``."""

    line = CommandLine(
        "kwalk compare",
        options=(
            *trace_options.TARGET,
            shared_options.duration(
                "length of each run in seconds: one by both methods, then one by each for its "
                f"overhead (default: {SECONDS:g}, or until COMMAND ends)"
            ),
            option(
                "--cost",
                kind=Kind.SWITCH,
                default=True,
                help="also measure the overhead of each method (default: yes)",
            ),
            shared_options.top(
                "show the N most frequent pairs of stacks of each kind (default: 1 as text, 10 "
                "in the page, all in JSON)"
            ),
            shared_options.formats(
                text="both stacks of a call side by side, then losses and overhead of each method",
                json="one JSON object",
            ),
            shared_options.ADDRESSES,
            shared_options.page("an HTML page"),
            trace_options.RING,
            *trace_options.PROBE,
            trace_options.VERIFY,
            *shared_options.SHAPE,
            trace_options.FILTERS,
        ),
        usage=trace_options.USAGE,
        epilog="-- COMMAND: run COMMAND and trace only its calls: once by both methods, then once "
        "by each for its overhead (unless --no-cost).",
    )

    def run(self, args: argparse.Namespace) -> int:
        """Trace, then print; the exit code is ``report.summary.exit_code`` of either side."""
        from kwalk.cli.comparing import compare
        from kwalk.model.comparison import nameless
        from kwalk.report.summary import lost_any
        from kwalk.support.atomic_file import Replacement

        if args.duration is None and not args.workload:
            args.duration = SECONDS
        # Created before time is spent on its contents.
        with Replacement(args.html) if args.html else nullcontext() as page:
            comparison = compare(args)
            try:
                _print(comparison, args)
            finally:
                if page:
                    from kwalk.report.compare import page as compare_page

                    if os.geteuid() == 0 and (args.addr or nameless(comparison)):
                        page.make_private()
                    text = compare_page.as_html(comparison, args.top or 10, bool(args.addr))
                    page.write(text)
                    page.finish()
        lost = args.strict and any(map(lost_any, comparison.ledgers))
        differs = comparison.verify and comparison.verify.mismatches
        return int(bool(lost or comparison.unseen or differs))


def _print(comparison: Comparison, args: argparse.Namespace) -> None:
    import json

    from kwalk.support.stdio import write

    addresses = shared_options.addresses(args)
    if args.format == "json":
        from kwalk.report.compare.json_ import as_data

        data = as_data(comparison, args.top, addresses)
        write(json.dumps(data, separators=(",", ":")) + "\n")
        return
    from kwalk.report.compare.text import as_text

    write(as_text(comparison, screen.width(70), args.top or 1, screen.colors(), addresses))


command = CompareCommand()
