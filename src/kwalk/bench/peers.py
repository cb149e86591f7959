# SPDX-License-Identifier: MIT
"""Other tools that get the stacks which lead to a function, each the way its users run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kwalk.bench.own import CATCH_UP_SECONDS
from kwalk.bench.results import Outcome
from kwalk.bench.tool import NotHere, Process, Running

TRACING = Path("/sys/kernel/tracing")
_HIST_ENTRIES = 8192


def said(*words: str) -> str:
    """Return what a command prints on both outputs; "" if there is no such command."""
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (result.stdout + result.stderr).strip()


def find(*names: str) -> str:
    """Return the path of a program, by the first of its names that is there.

    :raises NotHere: if none is.
    """
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise NotHere(f"{names[-1]} is not installed")
    return path


def traced(function: str) -> str:
    """Return ftrace's line about a function: "" where nothing is attached to it.

    :raises NotHere: if ftrace does not say.
    """
    try:
        lines = (TRACING / "enabled_functions").read_text().splitlines()
    except OSError as error:
        raise NotHere(f"ftrace does not say what is attached: {error.strerror}") from None
    return next((line for line in lines if line.split()[0] == function), "")


class Attached:
    """Tells when something more is attached to a function than when this was made.

    bpftrace says so before it has, and perf never does.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._before = traced(function)

    def __call__(self, _: Process) -> bool:
        """Return whether it is by now."""
        return traced(self._function) not in ("", self._before)


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
        return Outcome(len(first.findall(text)), lost, shown=len(first.findall(process.early)))


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


class KprobeEvent:
    """A kprobe event of ftrace's, as perf and the hist trigger use it."""

    def __init__(self, function: str) -> None:
        self._name = f"kwalk_bench/hit_{os.getpid()}"
        self._define(f"p:{self._name} {function}")
        self.folder = TRACING / "events" / self._name

    @property
    def perf_name(self) -> str:
        """Its name for perf."""
        return self._name.replace("/", ":")

    def hits(self) -> int:
        """Return how often the function was called while it was on."""
        rows = map(str.split, (TRACING / "kprobe_profile").read_text().splitlines())
        return next(int(row[1]) for row in rows if row[0] == self._name.partition("/")[2])

    def remove(self) -> None:
        """Take it away; it must be off."""
        self._define(f"-:{self._name}")

    @staticmethod
    def _define(text: str) -> None:
        # Appended, since opening the file otherwise clears every event there is.
        try:
            fd = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
            try:
                os.write(fd, text.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError as error:
            raise NotHere(f"ftrace takes no kprobe event: {error.strerror}") from None


class _Hist:
    """A hist trigger that is on."""

    def __init__(self, function: str) -> None:
        started = time.monotonic()
        self._event: KprobeEvent | None = KprobeEvent(function)
        self._trigger = self._event.folder / "trigger"
        for self._key in ("common_stacktrace", "stacktrace"):  # the latter before 6.3
            try:
                self._trigger.write_text(f"hist:keys={self._key}:size={_HIST_ENTRIES}\n")
                break
            except OSError:
                continue
        else:
            self._event.remove()
            raise NotHere("this kernel has no hist triggers by stack")
        self.attach_seconds = time.monotonic() - started

    def cpu_seconds(self) -> float:
        """It has no process."""
        return 0.0

    def finish(self) -> Outcome:
        """As in ``Running``."""
        assert self._event
        text = (self._event.folder / "hist").read_text()
        self.kill()
        hits, dropped = (
            int(re.findall(rf"{what}: (\d+)", text)[-1]) for what in ("Hits", "Dropped")
        )
        return Outcome(hits, dropped)

    def kill(self) -> None:
        """As in ``Running``."""
        if self._event:
            self._trigger.write_text(f"!hist:keys={self._key}:size={_HIST_ENTRIES}\n")
            self._event.remove()
            self._event = None


class Ftrace:
    """ftrace's hist trigger, keyed by stack."""

    name = "ftrace"

    def __init__(self, function: str) -> None:
        self._function = function

    def start(self) -> Running:
        """As in ``Tool``."""
        return _Hist(self._function)

    def version(self) -> str:
        """As in ``Tool``."""
        return "ftrace's hist trigger, of the kernel"


class _PerfProcess(Process):
    """perf record, which has to be told what to record before, and asked what it lost after."""

    def __init__(self, function: str) -> None:
        self._event: KprobeEvent | None = None
        perf, attached = find("perf"), Attached(function)
        self._event = KprobeEvent(function)
        self._data = Path(f"/tmp/kwalk-bench-{os.getpid()}.data")
        words: Sequence[str] = [perf, "record", "-a", "-g", "-e", self._event.perf_name]
        super().__init__([*words, "-o", str(self._data)], attached, self._samples)

    def _samples(self, _: Process) -> Outcome:
        assert self._event
        hits = self._event.hits()
        stats_text = said("perf", "report", "--stats", "-i", str(self._data))
        # It counts the times that it lost samples, not the samples.
        found = re.search(r"SAMPLE events: +(\d+)", stats_text)
        return Outcome(hits, hits - int(found[1] if found else 0))

    def kill(self) -> None:
        """As in ``Running``."""
        super().kill()
        if self._event:
            self._data.unlink(missing_ok=True)
            self._event.remove()
            self._event = None


class Perf:
    """perf record -g on a kprobe event."""

    name = "perf"

    def __init__(self, function: str) -> None:
        self._function = function

    def start(self) -> Process:
        """As in ``Tool``."""
        return _PerfProcess(self._function)

    def version(self) -> str:
        """As in ``Tool``."""
        return said("perf", "--version").replace("version ", "")
