# SPDX-License-Identifier: MIT
"""Tools on ftrace's kprobe events: the hist trigger, and perf."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process, Running, ToolUnavailable, find, output_of

TRACING = Path("/sys/kernel/tracing")
KPROBES = Path("/sys/kernel/debug/kprobes/list")
_HIST_ENTRIES = 8192


def traced(function: str) -> str:
    """Return a function's line of ``enabled_functions``; "" if nothing is attached to it.

    :raises ToolUnavailable: if the file cannot be read.
    """
    try:
        lines = (TRACING / "enabled_functions").read_text(errors="replace").splitlines()
    except OSError as error:
        raise ToolUnavailable(
            f"ftrace's enabled_functions cannot be read: {error.strerror}"
        ) from None
    return next((line for line in lines if line.split()[0] == function), "")


def kprobes(function: str) -> int:
    """Return the number of enabled kprobes on a function; 0 if the kernel does not tell."""
    try:
        lines = KPROBES.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    places = (line.split()[2] for line in lines if "[DISABLED]" not in line)
    return sum(place.partition("+")[0] == function for place in places)


class Attached:
    """Predicate: since its creation something has been attached to a function.

    Needed because bpftrace reports the attachment too early, and perf never does. ftrace's line
    does not change with a second kprobe on a function, which the list of kprobes shows. A second
    fentry program is seen in neither.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._before = traced(function)
        self._kprobes = kprobes(function)

    def __call__(self, _: Process) -> bool:
        """Return whether the function has another line, which is not empty, or more kprobes."""
        if traced(self._function) not in ("", self._before):
            return True
        return kprobes(self._function) > self._kprobes


class KprobeEvent:
    """ftrace kprobe event, for perf and the hist trigger."""

    def __init__(self, function: str) -> None:
        self._name = f"kwalk_bench/hit_{os.getpid()}"
        self._define(f"p:{self._name} {function}")
        self.folder = TRACING / "events" / self._name

    @property
    def perf_name(self) -> str:
        """The event's name in perf's syntax."""
        return self._name.replace("/", ":")

    def remove(self) -> None:
        """Delete the event, which must be disabled."""
        self._define(f"-:{self._name}")

    @staticmethod
    def _define(text: str) -> None:
        # O_APPEND and not O_TRUNC, which would delete every event of the system.
        try:
            fd = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
            try:
                os.write(fd, text.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError as error:
            raise ToolUnavailable(f"ftrace refuses the kprobe event: {error.strerror}") from None


class _Hist:
    """Active hist trigger."""

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
            raise ToolUnavailable("this kernel has no hist triggers by stack")
        self.attach_seconds = time.monotonic() - started

    def cpu_seconds(self) -> float:
        """Return 0: the trigger has no process."""
        return 0.0

    def finish(self) -> Outcome:
        """See ``Running.finish``."""
        assert self._event
        text = (self._event.folder / "hist").read_text(errors="replace")
        self.kill()
        hits, dropped = (
            int(re.findall(rf"{what}: (\d+)", text)[-1]) for what in ("Hits", "Dropped")
        )
        return Outcome(hits, dropped)  # hits exclude the dropped ones

    def kill(self) -> None:
        """See ``Running.kill``."""
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
        """See ``Tool.start``."""
        return _Hist(self._function)

    def version(self) -> str:
        """See ``Tool.version``."""
        return "ftrace's hist trigger, of the kernel"


class _PerfProcess(Process):
    """``perf record``; needs the event before it starts, and ``perf report`` to count samples."""

    def __init__(self, function: str, perf: str) -> None:
        self._event: KprobeEvent | None = None
        attached = Attached(function)
        self._event = KprobeEvent(function)
        self._perf = perf
        self._data_folder = tempfile.TemporaryDirectory(prefix="kwalk-bench-")
        self._data = str(Path(self._data_folder.name) / "perf.data")
        words: Sequence[str] = [perf, "record", "-a", "-g", "-e", self._event.perf_name]
        super().__init__([*words, "-o", self._data], attached, self._samples)

    def _samples(self, process: Process) -> Outcome:
        assert self._event
        text = output_of(self._perf, "report", "--stats", "-i", self._data)
        whole, _, of_event = text.partition(f"{self._event.perf_name} stats:")
        samples, lost = (_number(kind, of_event) for kind in ("SAMPLE", "LOST_SAMPLES"))
        # Before Linux 6.0 only the occasions are counted, as "LOST events", not the samples.
        known = lost or not _number("LOST", whole)
        return Outcome(samples, lost if known else None)

    def kill(self) -> None:
        """See ``Running.kill``."""
        super().kill()
        if self._event:
            self._data_folder.cleanup()
            self._event.remove()
            self._event = None


def _number(kind: str, text: str) -> int:
    """Return the number of records of a kind in the output of ``perf report --stats``."""
    found = re.search(rf"\b{kind} events: +(\d+)", text)
    return int(found[1]) if found else 0


class Perf:
    """``perf record -g`` on a kprobe event."""

    def __init__(self, function: str, name: str = "perf", folder: Path | None = None) -> None:
        self.name = name
        self._function = function
        self._folder = folder

    def start(self) -> Process:
        """See ``Tool.start``."""
        return _PerfProcess(self._function, find("perf", folder=self._folder))

    def version(self) -> str:
        """See ``Tool.version``."""
        text = output_of(find("perf", folder=self._folder), "--version")
        return text.replace("version ", "")
