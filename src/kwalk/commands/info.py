# SPDX-License-Identifier: MIT
"""``kwalk info``: what a recording is of, and its ledger."""

from __future__ import annotations

import argparse
import json

from kwalk.commands import options


class InfoCommand:
    """See ``kwalk info --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        options.add_recording(parser)
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def run(self, args: argparse.Namespace) -> int:
        """Print it."""
        from kwalk.output import write
        from kwalk.recording.files import load
        from kwalk.report import info

        profile = load(args.recording)
        if args.format == "json":
            write(json.dumps(info.as_data(profile), indent=2) + "\n")
        else:
            write(info.as_text(profile))
        return 0


command = InfoCommand()
