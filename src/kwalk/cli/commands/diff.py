# SPDX-License-Identifier: MIT
"""``kwalk diff``: difference of two recordings."""

from __future__ import annotations

import argparse
import sys

from kwalk.cli import shared_options
from kwalk.cli.options import CommandLine, Complete, flag, option
from kwalk.errors import UsageError
from kwalk.report.formats import PICTURE, TREE, Format

_CUT = ("top", "all")
FORMATS = {
    "text": Format(
        "diff.text",
        "functions and stacks that changed, the largest change last",
        ("title", *_CUT),
        people=True,
    ),
    "tree": Format("diff.tree", "the merged tree, for a terminal", (*TREE, *_CUT), people=True),
    "flamegraph": Format(
        "diff.flame", "one page of HTML: red where there is more, blue where less", PICTURE
    ),
    "json": Format(
        "diff.json_", "one JSON object: all stacks, both ledgers", ("top",), addresses=True
    ),
}
BY = {
    "rate": "calls per second",
    "share": "share of all calls",
    "count": "calls as counted",
}


class DiffCommand:
    """See ``kwalk diff --help``."""

    line = CommandLine(
        "kwalk diff",
        options=(
            option(
                "before",
                metavar="BEFORE",
                complete=Complete.FILES,
                help="a recording, or - for standard input",
            ),
            option(
                "after",
                metavar="AFTER",
                complete=Complete.FILES,
                help="the recording to compare with it",
            ),
            shared_options.formats(True, **{name: found.what for name, found in FORMATS.items()}),
            shared_options.OUTPUT,
            option(
                "--by",
                choices=BY,
                help="; ".join(f"{name}: {text}" for name, text in BY.items())
                + " (default: rate if both recordings have a duration, else share)",
            ),
            flag("--all", "also show changes that chance alone explains"),
            shared_options.top("show only the N largest changes"),
            *shared_options.TREES,
            *shared_options.NARROWED,
        ),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Write the difference; if it goes to a file, print warnings on stderr, too."""
        import importlib

        from kwalk.cli.extensions import choose_format
        from kwalk.cli.loading import load_part
        from kwalk.cli.writing import heeded, look, spare, write_report
        from kwalk.report.diff.change import By
        from kwalk.report.diff.common import warnings
        from kwalk.report.diff.compare import compare

        if args.before == args.after == "-":
            raise UsageError(
                "only one recording can come from standard input", "Give a file for one of them."
            )
        spare([args.before, args.after], args.output)
        choose_format(args, [*FORMATS])
        heeded(args, {name: found.heeds for name, found in FORMATS.items()})
        profiles = load_part(args.before, args), load_part(args.after, args)
        by = By(args.by) if args.by else None
        diff = compare(*profiles, by, (args.before, args.after))
        chosen = FORMATS[args.format]
        module = importlib.import_module(f"kwalk.report.{chosen.module}")
        body = module.render(diff, look(args, addresses=None), args.all)
        write_report(body, args.output, people=chosen.people, secret=chosen.addresses)
        if args.output is not None:
            for text in warnings(diff):
                print(f"kwalk: warning: {text}", file=sys.stderr)
        return 0


command = DiffCommand()
