# SPDX-License-Identifier: MIT
"""``kwalk functions``: functions that can be traced, and why others cannot."""

from __future__ import annotations

import argparse
import sys

from kwalk.cli import shared_options
from kwalk.cli.options import CommandLine, Complete, option


class FunctionsCommand:
    """See ``kwalk functions --help``."""

    line = CommandLine(
        "kwalk functions",
        options=(
            option(
                "patterns",
                nargs="+",
                metavar="PATTERN",
                complete=Complete.TARGETS,
                help="name or pattern, as FUNC of `kwalk count`: 'tcp_*', 'overlay:ovl_*', "
                "'/^ip6?_rcv$/'",
            ),
            shared_options.formats(text="one line per function", json="one JSON object"),
        ),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print the functions by address; print their number on stderr."""
        from kwalk.kernel.kallsyms import Kallsyms, Symbol
        from kwalk.probe import ftrace_sites, selection
        from kwalk.probe.load import image
        from kwalk.probe.target import Target
        from kwalk.report import functions
        from kwalk.support.stdio import write

        symbols = Kallsyms.read()
        able = ftrace_sites.read(symbols, image)
        found: dict[int, selection.Skipped] = {}
        for spelling in args.patterns:
            pattern = selection.is_pattern(spelling)
            find = selection.matching if pattern else selection.named
            for judged in selection.sift(find(spelling, symbols), symbols, able):
                found.setdefault(judged.target.address, judged)
        rows = sorted(found.values(), key=lambda judged: judged.target.address)

        def also(target: Target) -> list[str]:
            own = Symbol(target.address, target.name, target.module)
            return [name for name in symbols.aliases(own) if name != target.name]

        if args.format == "json":
            write(functions.as_json(rows, also))
        else:
            write(functions.as_text(rows, also))
            sys.stderr.write(functions.numbers(rows, able.known))
        return 0


command = FunctionsCommand()
