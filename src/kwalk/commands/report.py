# SPDX-License-Identifier: MIT
"""``kwalk report``: a recording in the format of your choice, anywhere, without root."""

from __future__ import annotations

import argparse

from kwalk.commands import options
from kwalk.report.formats import FORMATS


class ReportCommand:
    """See ``kwalk report --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add(
            parser,
            options.ONE_RECORDING,
            options.formats(**{name: found.what for name, found in FORMATS.items()}),
            options.OUTPUT,
            options.top("show the N hottest stacks only"),
            options.ADDRESSES,
            options.TREES,
            options.option(
                "--lines",
                metavar="VMLINUX",
                help="show file, line and inlined functions, from this ELF file of the recorded "
                "kernel with debug information (needs binutils or llvm)",
            ),
        )

    def run(self, args: argparse.Namespace) -> int:
        """Write the report."""
        from kwalk.commands.loading import load
        from kwalk.commands.writing import look, write_report
        from kwalk.report.formats import renderer

        profile = load(args.recording)
        if args.lines:
            from kwalk.symbolize.lines import add_lines

            profile = add_lines(profile, args.lines)
        chosen = FORMATS[args.format]
        write_report(
            renderer(args.format)(profile, look(args, args.addr)), args.output, chosen.binary
        )
        return 0


command = ReportCommand()
