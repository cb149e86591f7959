# SPDX-License-Identifier: MIT
"""``kwalk diff``: two recordings compared."""

from __future__ import annotations

import argparse
import sys

from kwalk.commands import options
from kwalk.errors import UsageError

FORMATS = {
    "text": ("diff_text", "functions and stacks that changed, the largest change last"),
    "tree": ("diff_tree", "the merged tree, for a terminal"),
    "flamegraph": ("diff_flame", "one page of HTML: red where there is more, blue where less"),
    "json": ("diff_json", "one JSON object: all stacks, both ledgers"),
}
BY = {
    "rate": "calls a second",
    "share": "the share of all calls",
    "count": "calls as they were counted",
}


class DiffCommand:
    """See ``kwalk diff --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("before", metavar="BEFORE", help="a recording, or - for standard input")
        parser.add_argument("after", metavar="AFTER", help="the recording to compare it with")
        what = "; ".join(f"{name}: {text}" for name, (_, text) in FORMATS.items())
        parser.add_argument("--format", choices=tuple(FORMATS), default="text", help=what)
        options.add_output(parser)
        parser.add_argument(
            "--by",
            choices=tuple(BY),
            help="; ".join(f"{name}: {text}" for name, text in BY.items())
            + " (default: rate where both recordings say how long they took, else share)",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="show also what changed by no more than chance explains",
        )
        parser.add_argument(
            "--top", type=options.positive_int, metavar="N", help="show the N largest changes only"
        )
        options.add_tree_options(parser)
        parser.set_defaults(addr=None)

    def run(self, args: argparse.Namespace) -> int:
        """Write the difference; where it goes to a file, the warnings go to stderr as well."""
        import importlib

        from kwalk.commands.writing import look, spare, write_report
        from kwalk.recording.files import load
        from kwalk.report.diff import By
        from kwalk.report.diff_compare import compare
        from kwalk.report.diff_words import warnings

        if args.before == args.after == "-":
            raise UsageError(
                "both recordings cannot come from standard input", "Give a file for one of them."
            )
        spare([args.before, args.after], args.output)
        profiles = load(args.before), load(args.after)
        by = By(args.by) if args.by else None
        diff = compare(*profiles, by, (args.before, args.after))
        module = importlib.import_module(f"kwalk.report.{FORMATS[args.format][0]}")
        write_report(module.render(diff, look(args), args.all), args.output)
        if args.output is not None:
            for text in warnings(diff):
                print(f"kwalk: warning: {text}", file=sys.stderr)
        return 0


command = DiffCommand()
