# SPDX-License-Identifier: MIT
"""Other BPF tools that get the stacks which lead to a function, each as its users run it."""

from __future__ import annotations

import re

from kwalk.bench.ftrace import Attached
from kwalk.bench.own import CATCH_UP_SECONDS
from kwalk.bench.results import Outcome
from kwalk.bench.tool import NotHere, Process, find, said


class Bpftrace:
    """bpftrace by kprobe: counting by stack, or printing each."""

    name = "bpftrace"

    def __init__(self, function: str, prints: bool) -> None:
        self._function = function
        self._prints = prints

    def start(self) -> Process:
        """As in ``Tool``."""
        action = 'printf("%s\\n", kstack);' if self._prints else "@[kstack] = count();"
        words = [find(self.name), "-e", f"kprobe:{self._function} {{ {action} }}"]
        settle = CATCH_UP_SECONDS if self._prints else 0.0
        return Process(words, Attached(self._function), self._read, settle)

    def version(self) -> str:
        """As in ``Tool``."""
        return said(self.name, "--version")

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
        """As in ``Tool``."""
        words = [find("stackcount-bpfcc", "stackcount"), self._function]
        return Process(words, lambda process: "Tracing" in process.out(), self._read)

    def version(self) -> str:
        """As in ``Tool``."""
        return "bcc " + said("dpkg-query", "-W", "-f", "${Version}", "bpfcc-tools")

    def _read(self, process: Process) -> Outcome:
        counts = re.findall(r"^    (\d+)$", process.out(), re.MULTILINE)
        if "Detaching" not in process.out():
            raise NotHere(process.last_words())
        return Outcome(sum(map(int, counts)), None)
