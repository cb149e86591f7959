# SPDX-License-Identifier: MIT
"""The file that a recording goes to: opened before tracing begins, changed only when it has.

Not written aside and put in place, as reports are: what a kill leaves of it can be read.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import Any

from kwalk.errors import OutputError, UsageError
from kwalk.ledger import Summary
from kwalk.recording.writer import Writer
from kwalk.stack import Count


class Recorder:
    """Writes a recording to a file, or to standard output.

    :param path: ``-`` is standard output.
    :ivar name: The file's; "" of standard output.
    :ivar size: Bytes written.
    :raises OutputError: if it cannot be, from ``__enter__``.
    """

    def __init__(self, path: str) -> None:
        self.name = "" if path == "-" else path
        self.size = 0
        self._fd = -1
        self._made = ""  # by this, and no recording is in it yet
        self._writer: Writer | None = None

    def __enter__(self) -> Recorder:
        if not self.name:
            if os.isatty(sys.stdout.fileno()):
                raise UsageError(
                    "a recording is nothing for a terminal",
                    "Send it to a file (-o FILE), or on to `kwalk report -`.",
                )
            self._fd = os.dup(sys.stdout.fileno())
            return self
        try:
            self._fd = self._open()
        except OSError as error:
            raise OutputError(error, self.name) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._made:  # tracing never began
            with suppress(OSError):  # somebody else has removed it
                if os.path.samestat(os.fstat(self._fd), os.lstat(self._made)):
                    os.unlink(self._made)
        os.close(self._fd)

    def _open(self) -> int:
        """Make the file; else open what is there, be it a file, a pipe or a device, as it is."""
        flags = os.O_WRONLY | os.O_CLOEXEC
        dangling = os.path.islink(self.name) and not os.path.exists(self.name)
        path = os.path.realpath(self.name) if dangling else self.name
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return os.open(self.name, flags)
        self._made = path
        return fd

    def begin(self, facts: dict[str, Any], summary: Summary) -> None:
        """Begin the recording, in place of what the file held before.

        :param summary: Of a capture that has just begun.
        :raises OutputError: from all that writes.
        """
        if self.name and stat.S_ISREG(os.fstat(self._fd).st_mode):
            try:
                os.ftruncate(self._fd, 0)
            except OSError as error:
                raise OutputError(error, self.name) from error
        self._writer = Writer(self._write, facts)
        self._writer.tick([], 0.0, summary)
        self._made = ""

    def tick(self, counts: list[Count], seconds: float, summary: Summary) -> None:
        """See ``Writer.tick``."""
        assert self._writer
        self._writer.tick(counts, seconds, summary)

    def end(self, counts: list[Count], seconds: float, summary: Summary) -> None:
        """See ``Writer.end``."""
        assert self._writer
        self._writer.end(counts, seconds, summary)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = os.write(self._fd, rest)
                rest = rest[written:]
                self.size += written
        except OSError as error:
            raise OutputError(error, self.name) from error
