# SPDX-License-Identifier: MIT
"""``kwalk doctor``: what this kernel offers, what will be used, and why not more."""

from __future__ import annotations

import argparse

from kwalk.commands import options


class DoctorCommand:
    """See ``kwalk doctor --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "function",
            metavar="FUNC",
            nargs="?",
            help="try with this kernel function (default: one that is hardly ever called)",
        )
        options.add(parser, options.formats(text="line by line", json="one JSON object"))

    def run(self, args: argparse.Namespace) -> int:
        """Print the findings; exit code 0 if tracing works here, 1 if not."""
        from kwalk.commands import screen
        from kwalk.output import write
        from kwalk.probe.survey import survey
        from kwalk.report import doctor

        result = survey(args.function)
        if args.format == "json":
            write(doctor.as_json(result))
        else:
            write(doctor.as_text(result, screen.whole(60), screen.colors()))
        return 0 if result.method else 1


command = DoctorCommand()
