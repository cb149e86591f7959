# SPDX-License-Identifier: MIT
"""kwalk's own ways to trace, each run as its user would run it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kwalk.bench import closing
from kwalk.bench.results import Outcome
from kwalk.bench.tool import NotHere, Process
from kwalk.support.text import plural
from kwalk.version import __version__

CATCH_UP_SECONDS = 2.0  # what a reader may take to print the rest after the load
_PUBLISHED = "from kwalk.cli.published import main; raise SystemExit(main())"


class Kwalk:
    """One of kwalk's commands with its output in a file.

    :param words: What follows the name of Python's interpreter.
    :param prints: Whether it prints each event, an empty line behind it; else it ends with JSON.
    """

    def __init__(self, name: str, words: Sequence[str], prints: bool) -> None:
        self.name = name
        self._words = [sys.executable, *words]
        self._prints = prints

    def start(self) -> Process:
        """As in ``Tool``."""
        settle = CATCH_UP_SECONDS if self._prints else 0.0
        return Process(self._words, lambda it: "Ctrl-C ends" in it.err(), self._read, settle)

    def version(self) -> str:
        """As in ``Tool``."""
        return f"kwalk {__version__}"

    def _read(self, process: Process) -> Outcome:
        # What prints each event is measured by its usual output, which is no JSON.
        out = process.out()
        told = closing.from_text(process.err()) if self._prints else closing.from_json(out)
        if not told:
            raise NotHere(process.last_words())
        shown = None
        if self._prints:
            shown = process.early.count("\n\n")
            if out.count("\n\n") != told.recorded:
                raise NotHere(
                    f"it says {plural(told.recorded, 'stack')}, and has not printed as many"
                )
        return Outcome(told.hits, told.lost, told.fallback, shown)


def kwalk(function: str, command: str, method: str, attach: str, name: str) -> Kwalk:
    """``kwalk count`` or ``kwalk stream`` by a method and a way of attaching."""
    words = ["-m", "kwalk", command, function, "--method", method, "--attach", attach]
    prints = command == "stream"
    return Kwalk(name, words if prints else [*words, "--format", "json"], prints)


def published(function: str, method: str) -> Kwalk:
    """``bpf_get_stack_test``: names only."""
    words = ["-c", _PUBLISHED, f"--{method}", function]
    return Kwalk(f"test-{method}", words, prints=True)
