# SPDX-License-Identifier: MIT
"""The commands: each module parses its arguments and decides; reports draw."""

from __future__ import annotations

import argparse
from typing import Protocol


class Command(Protocol):
    """What the modules of this package offer to ``kwalk.cli``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own options on its parser."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code; raise KwalkError on failure."""
