# SPDX-License-Identifier: MIT
"""The file that a recording goes to: opened before tracing begins, changed only when it has."""

from __future__ import annotations

import os
import sys
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
            self._fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(error, self.name) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if self.name and not self._writer and not os.path.getsize(self.name):
            os.unlink(self.name)  # tracing never began

    def begin(self, facts: dict[str, Any], summary: Summary) -> None:
        """Begin the recording, in place of what the file held before.

        :param summary: Of a capture that has just begun.
        :raises OutputError: from all that writes.
        """
        if self.name and os.path.isfile(self.name):
            os.ftruncate(self._fd, 0)
        self._writer = Writer(self._write, facts)
        self._writer.tick([], 0.0, summary)

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
