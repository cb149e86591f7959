# SPDX-License-Identifier: MIT
"""Other BPF tools that collect the stacks leading to a function, with their usual options."""

from __future__ import annotations

import re

from kwalk.bench.ftrace import Attached
from kwalk.bench.own import CATCH_UP_SECONDS
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process, ToolUnavailable, find, output_of


class Bpftrace:
    """bpftrace by kprobe: aggregates by stack, or prints each event."""

    name = "bpftrace"

    def __init__(self, function: str, prints: bool) -> None:
        self._function = function
        self._prints = prints

    def start(self) -> Process:
        """See ``Tool.start``."""
        action = 'printf("%s\\n", kstack);' if self._prints else "@[kstack] = count();"
        words = [find(self.name), "-e", f"kprobe:{self._function} {{ {action} }}"]
        settle = CATCH_UP_SECONDS if self._prints else 0.0
        return Process(words, Attached(self._function), self._read, settle)

    def version(self) -> str:
        """See ``Tool.version``."""
        return output_of(self.name, "--version")

    def _read(self, process: Process) -> Outcome:
        text = process.out()
        lost = sum(map(int, re.findall(r"Lost (\d+) events", text + process.err())))
        if not self._prints:
            counts = re.findall(r"^\]: (\d+)$", text, re.MULTILINE)
            return Outcome(sum(map(int, counts)), lost)
        first = re.compile(rf"^\s+{re.escape(self._function)}\+", re.MULTILINE)
        calls = len(first.findall(text)) + lost
        return Outcome(calls, lost, shown=len(first.findall(process.early)))


class Bcc:
    """bcc's stackcount."""

    name = "bcc"

    def __init__(self, function: str) -> None:
        self._function = function

    def start(self) -> Process:
        """See ``Tool.start``."""
        words = [find("stackcount-bpfcc", "stackcount"), self._function]
        return Process(words, lambda process: "Tracing" in process.out(), self._read)

    def version(self) -> str:
        """See ``Tool.version``."""
        return "bcc " + output_of("dpkg-query", "-W", "-f", "${Version}", "bpfcc-tools")

    def _read(self, process: Process) -> Outcome:
        counts = re.findall(r"^    (\d+)$", process.out(), re.MULTILINE)
        if "Detaching" not in process.out():
            raise ToolUnavailable(process.last_words())
        return Outcome(sum(map(int, counts)), None)
