# SPDX-License-Identifier: MIT
"""Tracing tools to benchmark: start them, stop them, parse their output."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from kwalk.bench.results import Outcome
from kwalk.support.parentage import ends_with_us

ATTACH_SECONDS = 120.0
END_SECONDS = 60.0
POLL_SECONDS = 0.02


class ToolUnavailable(Exception):
    """The tool cannot be measured on this machine; the message gives the reason."""


def output_of(*words: str) -> str:
    """Return a command's stdout and stderr; "" if there is no such command."""
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (result.stdout + result.stderr).strip()


def find(*names: str, folder: Path | None = None) -> str:
    """Return the path of a program, by the first of its names that is installed.

    :param folder: The only folder to look in, instead of ``PATH``.
    :raises ToolUnavailable: if it is not installed.
    """
    path = str(folder) if folder else None
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        place = "in its folder of --tools" if folder else "installed"
        raise ToolUnavailable(f"{names[-1]} is not {place}")
    return found


class Running(Protocol):
    """Attached tool.

    :ivar attach_seconds: From its start until it was attached.
    """

    attach_seconds: float

    def cpu_seconds(self) -> float:
        """Return the CPU time that its process has used so far."""

    def finish(self) -> Outcome:
        """Detach and return the event counts.

        :raises ToolUnavailable: if they cannot be determined.
        """

    def kill(self) -> None:
        """Detach at once; may be called at any time, also after ``finish``."""


class Tool(Protocol):
    """Tool that traces one function.

    :ivar name: Method name in the table of results.
    """

    name: str

    def start(self) -> Running:
        """Attach.

        :raises ToolUnavailable: if that fails.
        """

    def version(self) -> str:
        """Return the program's name and version."""


class Process:
    """Tool that runs as a process, with its outputs in files.

    :param attached: Decides from the outputs whether it is attached.
    :param read: Parses the outputs; may raise ToolUnavailable.
    :param settle: Seconds that it gets after the load, before Ctrl-C.
    :ivar early: Its stdout at the end of these seconds.
    """

    def __init__(
        self,
        words: Sequence[str],
        attached: Callable[[Process], bool],
        read: Callable[[Process], Outcome],
        settle: float = 0.0,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kwalk-bench-")
        self._out, self._err = (Path(self._folder.name) / name for name in ("out", "err"))
        self._read = read
        self._settle = settle
        self.early = ""
        started = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            # Own session: the benchmark handles Ctrl-C on the terminal.
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=ends_with_us(),
            )
        try:
            while not attached(self):
                if self.process.poll() is not None:
                    raise ToolUnavailable(self.last_words())
                if time.monotonic() > started + ATTACH_SECONDS:
                    raise ToolUnavailable(f"it had not attached after {ATTACH_SECONDS:.0f} seconds")
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.kill()
            raise
        self.attach_seconds = time.monotonic() - started

    def out(self) -> str:
        """Return its stdout so far."""
        return self._out.read_text(errors="replace")

    def err(self) -> str:
        """Return its stderr so far."""
        return self._err.read_text(errors="replace")

    def last_words(self) -> str:
        """Return the first line that may explain its end: of stderr, else of stdout."""
        lines = self.err().strip().splitlines() or self.out().strip().splitlines()
        lines = [line for line in lines if "Ctrl-C ends" not in line] or lines
        return lines[0] if lines else "it ended without a message"

    def cpu_seconds(self) -> float:
        """Return the CPU time of all of its threads (/proc/PID/task/TID/schedstat)."""
        nanoseconds = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(path.read_text().split()[0])
            except (OSError, IndexError, ValueError):
                continue  # the thread has ended
        return nanoseconds / 1e9

    def finish(self) -> Outcome:
        """Send Ctrl-C and parse the outputs; see ``Running.finish``."""
        if self._settle:
            time.sleep(self._settle)
            self.early = self.out()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ToolUnavailable(
                f"it did not end within {END_SECONDS:.0f} seconds of Ctrl-C"
            ) from None
        return self._read(self)

    def kill(self) -> None:
        """Kill the process and delete its outputs; see ``Running.kill``."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()
