# SPDX-License-Identifier: MIT
"""The file that a recording goes to: opened before tracing begins, put in place when it has.

From then on it grows where it is: what a kill leaves of it can be read.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from kwalk.errors import OutputError, UsageError
from kwalk.ledger import Summary
from kwalk.recording.writer import Writer
from kwalk.replacing import Replacement
from kwalk.stack import Count


class Recorder:
    """Writes a recording to a file, for nobody else to read, or to standard output.

    :param path: ``-`` is standard output.
    :ivar name: The file's; "" of standard output.
    :ivar size: Bytes written.
    :raises OutputError: if it cannot be, from ``__enter__``.
    """

    def __init__(self, path: str) -> None:
        self.name = "" if path == "-" else path
        self.size = 0
        self._fd = -1
        self._file = Replacement(path, private=True) if self.name else None
        self._writer: Writer | None = None

    def __enter__(self) -> Recorder:
        if self._file:
            self._file.__enter__()
            return self
        if os.isatty(sys.stdout.fileno()):
            raise UsageError(
                "a recording is nothing for a terminal",
                "Send it to a file (-o FILE), or on to `kwalk report -`.",
            )
        self._fd = os.dup(sys.stdout.fileno())
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.__exit__(*error)
        else:
            os.close(self._fd)

    def begin(self, facts: dict[str, Any], summary: Summary) -> None:
        """Begin the recording, in place of what the file held before.

        :param summary: Of a capture that has just begun.
        :raises OutputError: from all that writes.
        """
        self._writer = Writer(self._write, facts)
        self._writer.tick([], 0.0, summary)
        if self._file:
            self._fd = self._file.place()

    def tick(self, counts: list[Count], seconds: float, summary: Summary) -> None:
        """See ``Writer.tick``."""
        assert self._writer
        self._writer.tick(counts, seconds, summary)

    def end(self, counts: list[Count], seconds: float, summary: Summary) -> None:
        """See ``Writer.end``."""
        assert self._writer
        self._writer.end(counts, seconds, summary)

    def _write(self, data: bytes) -> None:
        if self._file and self._fd < 0:  # it is not in place yet
            self._file.write(data)
            self.size += len(data)
            return
        rest = memoryview(data)
        try:
            while rest:
                written = os.write(self._fd, rest)
                rest = rest[written:]
                self.size += written
        except OSError as error:
            raise OutputError(error, self.name) from error
