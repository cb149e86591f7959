# SPDX-License-Identifier: MIT
"""``kwalk info``: metadata and ledger of a recording."""

from __future__ import annotations

import argparse
import json

from kwalk.cli import shared_options
from kwalk.cli.options import CommandLine


class InfoCommand:
    """See ``kwalk info --help``."""

    line = CommandLine(
        "kwalk info",
        options=(
            shared_options.ONE_RECORDING,
            shared_options.formats(text="line by line", json="one JSON object"),
        ),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print both."""
        from kwalk.cli.loading import load
        from kwalk.report import info
        from kwalk.support.stdio import write

        profile = load(args.recording)
        if args.format == "json":
            write(json.dumps(info.as_data(profile), indent=2) + "\n")
        else:
            write(info.as_text(profile))
        return 0


command = InfoCommand()
