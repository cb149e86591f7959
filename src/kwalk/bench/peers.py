# SPDX-License-Identifier: MIT
"""Other BPF tools that collect the stacks leading to a function, with their usual options."""

from __future__ import annotations

import re
from pathlib import Path

from kwalk.bench.ftrace import Attached
from kwalk.bench.own import CATCH_UP_SECONDS
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process, ToolUnavailable, find, output_of
from kwalk.lab.peers import versions

_PACKAGE = "bpfcc-tools"


class Bpftrace:
    """bpftrace by kprobe: aggregates by stack, or prints each event."""

    def __init__(
        self, function: str, prints: bool, name: str = "bpftrace", folder: Path | None = None
    ) -> None:
        self.name = name
        self._function = function
        self._prints = prints
        self._folder = folder

    def start(self) -> Process:
        """See ``Tool.start``."""
        action = 'printf("%s\\n", kstack);' if self._prints else "@[kstack] = count();"
        words = [
            find("bpftrace", folder=self._folder),
            "-e",
            f"kprobe:{self._function} {{ {action} }}",
        ]
        settle = CATCH_UP_SECONDS if self._prints else 0.0
        return Process(words, Attached(self._function), self._read, settle)

    def version(self) -> str:
        """See ``Tool.version``."""
        return output_of(find("bpftrace", folder=self._folder), "--version")

    def _read(self, process: Process) -> Outcome:
        text = process.out()
        said = map(int, re.findall(r"Lost (\d+) events", text + process.err()))
        if not self._prints:
            without = map(int, re.findall(r"^@\[\s*\]: (\d+)$", text, re.MULTILINE))
            counts = map(int, re.findall(r"^    .+\n\]: (\d+)$", text, re.MULTILINE))
            return Outcome(sum(counts), sum(said) + sum(without))
        first = re.compile(rf"^\s+{re.escape(self._function)}\+", re.MULTILINE)
        shown = len(first.findall(process.early))
        return Outcome(len(first.findall(text)), sum(said), shown=shown)


class Bcc:
    """bcc's stackcount."""

    def __init__(self, function: str, name: str = "bcc", folder: Path | None = None) -> None:
        self.name = name
        self._function = function
        self._folder = folder

    def start(self) -> Process:
        """See ``Tool.start``."""
        program = find("stackcount-bpfcc", "stackcount", folder=self._folder)
        words = [program, self._function]
        return Process(words, lambda process: "Tracing" in process.out(), self._read)

    def version(self) -> str:
        """See ``Tool.version``."""
        if self._folder:
            return "bcc " + versions(self._folder).get(_PACKAGE, "")
        return "bcc " + output_of("dpkg-query", "-W", "-f", "${Version}", _PACKAGE)

    def _read(self, process: Process) -> Outcome:
        text = process.out()
        if "Detaching" not in text:
            raise ToolUnavailable(process.last_words())
        counts = re.findall(r"^(  \S.*\n)?    (\d+)$", text, re.MULTILINE)
        # Counts without a stack are those whose stack it could not take.
        delivered, lost = (
            sum(int(number) for frame, number in counts if bool(frame) is whole)
            for whole in (True, False)
        )
        return Outcome(delivered, lost)
