# SPDX-License-Identifier: MIT
"""kwalk's own ways to trace, each run as its user would run it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from kwalk import __version__
from kwalk.bench.results import Outcome
from kwalk.bench.tool import NotHere, Process

CATCH_UP_SECONDS = 2.0  # what a reader may take to print the rest after the load
_HEAD = re.compile(r": ([\d,]+) calls = ([\d,]+) stacks (?:\+ [\d,]+ not wanted )?\+ ([\d,]+) lost")
_FALLBACK = re.compile(r"fallback: ([\d,]+) stacks")
_PUBLISHED = "from kwalk.commands.published import main; raise SystemExit(main())"


def _number(text: str) -> int:
    return int(text.replace(",", ""))


class Kwalk:
    """One of kwalk's commands with its output in a file.

    :param words: What follows the name of Python's interpreter.
    :param prints: Whether it prints each event, an empty line behind it.
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
        text = process.err()
        head = _HEAD.search(text)
        if not head:
            raise NotHere(process.last_words())
        hits, stacks, lost = map(_number, head.groups())
        fallback = _FALLBACK.search(text)
        shown = None
        if self._prints:
            shown = process.early.count("\n\n")
            if process.out().count("\n\n") != stacks:
                raise NotHere(f"it says {stacks:,} stacks, and has not printed as many")
        return Outcome(hits, lost, _number(fallback[1]) if fallback else 0, shown)


def kwalk(function: str, command: str, method: str, attach: str, name: str) -> Kwalk:
    """``kwalk count`` or ``kwalk stream`` by a method and a way of attaching."""
    words = ["-m", "kwalk", command, function, "--method", method, "--attach", attach]
    return Kwalk(name, words, prints=command == "stream")


def published(function: str, method: str) -> Kwalk:
    """``bpf_get_stack_test``: names only."""
    words = ["-c", _PUBLISHED, f"--{method}", function]
    return Kwalk(f"test-{method}", words, prints=True)
