# SPDX-License-Identifier: MIT
"""``kwalk doctor``: tracing features of this kernel, and which of them kwalk uses."""

from __future__ import annotations

import argparse

from kwalk.cli import shared_options
from kwalk.cli.options import CommandLine, Complete, option


class DoctorCommand:
    """See ``kwalk doctor --help``."""

    line = CommandLine(
        "kwalk doctor",
        options=(
            option(
                "function",
                metavar="FUNC",
                nargs="?",
                complete=Complete.TARGETS,
                help="also check that this kernel function can be traced",
            ),
            shared_options.formats(text="line by line", json="one JSON object"),
        ),
        epilog="Each attach type is tried on a system call that kwalk makes. Exit code: 0 if "
        "functions can be traced, 3 if only samples or tracepoints can, 1 if nothing can.",
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print the survey; the exit code is ``Survey.exit_code``."""
        from kwalk.cli import screen
        from kwalk.hot.trial import trial
        from kwalk.probe.doctor import survey
        from kwalk.report import doctor
        from kwalk.support.stdio import write

        result = survey(args.function, trial)
        if args.format == "json":
            write(doctor.as_json(result))
        else:
            write(doctor.as_text(result, screen.whole(60), screen.colors()))
        return result.exit_code


command = DoctorCommand()
