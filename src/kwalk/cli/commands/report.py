# SPDX-License-Identifier: MIT
"""``kwalk report``: a recording in one of several formats."""

from __future__ import annotations

import argparse
import sys

from kwalk.cli import shared_options
from kwalk.cli.options import CommandLine, Complete, option
from kwalk.report.formats import FORMATS


class ReportCommand:
    """See ``kwalk report --help``."""

    line = CommandLine(
        "kwalk report",
        options=(
            shared_options.RECORDINGS,
            shared_options.formats(True, **{name: found.what for name, found in FORMATS.items()}),
            shared_options.OUTPUT,
            shared_options.top("show only the N hottest stacks"),
            shared_options.ADDRESSES,
            *shared_options.TREES,
            *shared_options.NARROWED,
            option(
                "--lines",
                metavar="VMLINUX",
                complete=Complete.FILES,
                help="show source lines and inlined functions, from an ELF file of the recorded "
                "kernel with debug information (needs binutils or llvm)",
            ),
        ),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Write the report; print losses on stderr if the report lacks them or goes to a file."""
        from kwalk.cli.extensions import choose_format
        from kwalk.cli.loading import load_parts
        from kwalk.cli.writing import heeded, look, spare, write_report
        from kwalk.report.formats import holds_addresses, renderer
        from kwalk.report.summary import warnings

        spare([*args.recordings, *([args.lines] if args.lines else [])], args.output)
        choose_format(args, [*FORMATS])
        heeded(args, {name: (*found.heeds, "top") for name, found in FORMATS.items()})
        profile = load_parts(args.recordings, args)
        chosen = FORMATS[args.format]
        how = look(args, args.addr)
        write_report(
            renderer(args.format)(profile, how),
            args.output,
            binary=chosen.binary,
            people=chosen.people,
            secret=holds_addresses(chosen, profile, how),
        )
        if args.output is not None or args.format == "folded":
            from kwalk.symbolize.lines import NOTE

            for text in warnings(profile.summary):
                kind = "note" if text.startswith(NOTE) else "warning"
                print(f"kwalk: {kind}: {text}", file=sys.stderr)
        return 0


command = ReportCommand()
