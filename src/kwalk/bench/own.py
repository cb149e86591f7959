# SPDX-License-Identifier: MIT
"""kwalk's own commands as benchmarked tools."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kwalk.bench import closing
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process, ToolUnavailable
from kwalk.support.text import plural
from kwalk.version import __version__

CATCH_UP_SECONDS = 2.0  # after the load, for the reader to print the rest
_EMPTY_LINE = "\n\n"  # behind each stack
_PUBLISHED = "from kwalk.cli.published import main; raise SystemExit(main())"


class Kwalk:
    """kwalk command with its output in a file.

    :param words: Arguments of the Python interpreter.
    :param each: Text that its output has once for each event; "": the output ends with JSON.
    """

    def __init__(self, name: str, words: Sequence[str], each: str) -> None:
        self.name = name
        self._words = [sys.executable, *words]
        self._each = each

    def start(self) -> Process:
        """See ``Tool.start``."""
        settle = CATCH_UP_SECONDS if self._each else 0.0
        return Process(self._words, lambda it: "Ctrl-C ends" in it.err(), self._read, settle)

    def version(self) -> str:
        """See ``Tool.version``."""
        return f"kwalk {__version__}"

    def _read(self, process: Process) -> Outcome:
        # A stream is measured with its default output, which is text.
        out = process.out()
        ledger = closing.from_text(process.err()) if self._each else closing.from_json(out)
        if not ledger:
            raise ToolUnavailable(process.last_words())
        shown = process.early.count(self._each) if self._each else None
        delivered = out.count(self._each) if self._each else closing.counted(out)
        if delivered != ledger.recorded:
            raise ToolUnavailable(
                f"it recorded {plural(ledger.recorded, 'stack')}, but showed {delivered:,}"
            )
        return Outcome(delivered, ledger.lost, ledger.fallback, shown)


def kwalk(function: str, command: str, method: str, attach: str, name: str) -> Kwalk:
    """Return ``kwalk count`` or ``kwalk stream`` with a method and a way of attaching."""
    words = ["-m", "kwalk", command, function, "--method", method, "--attach", attach]
    if command == "stream":
        return Kwalk(name, words, _EMPTY_LINE)
    return Kwalk(name, [*words, "--format", "json"], "")


def once(function: str, attach: str) -> Kwalk:
    """Return ``kwalk stream --stacks once``, which prints a line for each event."""
    words = ["-m", "kwalk", "stream", function, "--method", "manual", "--attach", attach]
    return Kwalk("once", [*words, "--stacks", "once"], "  stack ")


def published(function: str, method: str) -> Kwalk:
    """Return ``bpf_get_stack_test``, which prints names only."""
    words = ["-c", _PUBLISHED, f"--{method}", function]
    return Kwalk(f"test-{method}", words, _EMPTY_LINE)
