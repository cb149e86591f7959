# SPDX-License-Identifier: MIT
"""A tool that is attached while the workload runs: start it, end it, read what it printed."""

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


class NotHere(Exception):
    """This tool can't be measured on this machine; the text says why."""


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


class Running(Protocol):
    """An attached tool.

    :ivar attach_seconds: From its start until it was attached.
    """

    attach_seconds: float

    def cpu_seconds(self) -> float:
        """Return what its process has used of the CPU so far."""

    def finish(self) -> Outcome:
        """Detach and return what it saw.

        :raises NotHere: if that can't be told.
        """

    def kill(self) -> None:
        """Detach at once; may be called at any time, also after ``finish``."""


class Tool(Protocol):
    """A way to trace a function.

    :ivar name: As it is named in the table.
    """

    name: str

    def start(self) -> Running:
        """Attach.

        :raises NotHere: if it can't be.
        """

    def version(self) -> str:
        """Return name and version of the program."""


class Process:
    """A tool that is a program of its own, its outputs in files.

    :param attached: Tells from both outputs whether it is attached by now.
    :param read: Makes what it saw of both outputs; it may raise NotHere.
    :param settle: Seconds that it gets after the load, before it is ended.
    :ivar early: What it had printed then.
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
            # A session of its own: Ctrl-C in the terminal is for the bench to deal with.
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
                    raise NotHere(self.last_words())
                if time.monotonic() > started + ATTACH_SECONDS:
                    raise NotHere(f"it had not attached after {ATTACH_SECONDS:.0f} seconds")
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.kill()
            raise
        self.attach_seconds = time.monotonic() - started

    def out(self) -> str:
        """Return what it has printed."""
        return self._out.read_text(errors="replace")

    def err(self) -> str:
        """Return what it has printed on standard error."""
        return self._err.read_text(errors="replace")

    def last_words(self) -> str:
        """Return the first line of why it ended; that it was attached is no reason."""
        lines = self.err().strip().splitlines() or self.out().strip().splitlines()
        lines = [line for line in lines if "Ctrl-C ends" not in line] or lines
        return lines[0] if lines else "it ended without a word"

    def cpu_seconds(self) -> float:
        """As in ``Running``: all of its threads, from /proc/PID/task/TID/schedstat."""
        nanoseconds = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(path.read_text().split()[0])
            except (OSError, IndexError, ValueError):
                continue  # the thread has ended
        return nanoseconds / 1e9

    def finish(self) -> Outcome:
        """As in ``Running``: Ctrl-C, then its output."""
        if self._settle:
            time.sleep(self._settle)
            self.early = self.out()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotHere(f"it did not end within {END_SECONDS:.0f} seconds of Ctrl-C") from None
        return self._read(self)

    def kill(self) -> None:
        """As in ``Running``."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()
