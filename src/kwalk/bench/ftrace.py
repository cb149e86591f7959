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


class Attached:
    """Predicate: since its creation something has been attached to a function.

    Needed because bpftrace reports the attachment too early, and perf never does.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._before = traced(function)

    def __call__(self, _: Process) -> bool:
        """Return whether the function's line has changed and is not empty."""
        return traced(self._function) not in ("", self._before)


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

    def hits(self) -> int:
        """Return the calls of the function while the event was enabled."""
        rows = map(str.split, (TRACING / "kprobe_profile").read_text(errors="replace").splitlines())
        return next(int(row[1]) for row in rows if row[0] == self._name.partition("/")[2])

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
        return Outcome(hits, dropped)

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
    """``perf record``; needs the event before it starts, and ``perf report`` to count losses."""

    def __init__(self, function: str) -> None:
        self._event: KprobeEvent | None = None
        perf, attached = find("perf"), Attached(function)
        self._event = KprobeEvent(function)
        self._data_folder = tempfile.TemporaryDirectory(prefix="kwalk-bench-")
        self._data = str(Path(self._data_folder.name) / "perf.data")
        words: Sequence[str] = [perf, "record", "-a", "-g", "-e", self._event.perf_name]
        super().__init__([*words, "-o", self._data], attached, self._samples)

    def _samples(self, _: Process) -> Outcome:
        assert self._event
        hits = self._event.hits()
        stats_text = output_of("perf", "report", "--stats", "-i", self._data)
        # perf's own number of losses counts the occasions, not the samples.
        found = re.search(r"SAMPLE events: +(\d+)", stats_text)
        return Outcome(hits, hits - int(found[1] if found else 0))

    def kill(self) -> None:
        """See ``Running.kill``."""
        super().kill()
        if self._event:
            self._data_folder.cleanup()
            self._event.remove()
            self._event = None


class Perf:
    """``perf record -g`` on a kprobe event."""

    name = "perf"

    def __init__(self, function: str) -> None:
        self._function = function

    def start(self) -> Process:
        """See ``Tool.start``."""
        return _PerfProcess(self._function)

    def version(self) -> str:
        """See ``Tool.version``."""
        return output_of("perf", "--version").replace("version ", "")
