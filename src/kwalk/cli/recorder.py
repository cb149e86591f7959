# SPDX-License-Identifier: MIT
"""Output file of a recording: opened before tracing begins, renamed into place when it has begun.

It then grows in place, so that it can be read after a SIGKILL.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

from kwalk.errors import OutputError, UsageError
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count
from kwalk.recording.writer import RecordingWriter
from kwalk.support.atomic_file import Replacement
from kwalk.support.outlet import Outlet, Patience, endless
from kwalk.support.stdio import check_stdout


class Recorder:
    """Writes a recording to a file that only its owner can read, or to standard output.

    :param path: ``-`` is standard output.
    :ivar name: Path; "" for standard output.
    :ivar size: Bytes written.
    :ivar patience: Whether to wait for a slow reader; the rest precedes the next write.
    :raises OutputError: from ``__enter__``, if it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.name = "" if path == "-" else path
        self.size = 0
        self.patience: Patience = endless
        self._fd = -1
        self._file = Replacement(path, private=True) if self.name else None
        self._outlet: Outlet | None = None
        self._begun = 0  # size of the file when it was renamed into place
        self._rest = b""
        self._ledgers: list[tuple[int, Ledger]] = []  # with the offset of each ledger's end
        self._writer: RecordingWriter | None = None

    @property
    def fd(self) -> int:
        """Descriptor written to; -1 before the file is in place."""
        return self._fd

    def __enter__(self) -> Recorder:
        if self._file:
            self._fd = self._file.__enter__().fd
            return self
        if os.isatty(sys.stdout.fileno()):
            raise UsageError(
                "refusing to write a binary recording to a terminal",
                "Write it to a file (-o FILE), or pipe it to `kwalk report -`.",
            )
        check_stdout()
        self._fd = os.dup(sys.stdout.fileno())
        return self

    def __exit__(self, *error: object) -> None:
        if self._outlet:
            self._outlet.close()
        if self._file:
            self._file.__exit__(*error)
        else:
            os.close(self._fd)

    def begin(self, facts: dict[str, Any], summary: Summary) -> None:
        """Write the header and replace the previous file.

        :param summary: Summary of a capture that has just begun.
        :raises OutputError: as all methods that write.
        """
        if self._fd >= 0:
            self._outlet = Outlet(self._fd)
        self._writer = RecordingWriter(self._write, facts)
        self.tick([], 0.0, summary)
        if self._file:
            self._fd = self._file.place()
            self._outlet = self._outlet or Outlet(self._fd)

    def tick(self, counts: Sequence[Count], seconds: float, summary: Summary) -> None:
        """See ``RecordingWriter.tick``."""
        assert self._writer
        self._ledger = summary.ledger
        self._writer.tick(counts, seconds, summary)

    def end(self, counts: Sequence[Count], seconds: float, summary: Summary) -> None:
        """See ``RecordingWriter.end``.

        :raises OutputError: also if the reader has not read all of it.
        """
        assert self._writer
        self._ledger = summary.ledger
        self._writer.end(counts, seconds, summary)
        if self._rest:
            raise OutputError(OSError(errno.ETIMEDOUT, "nobody reads it"), self.name)

    def settle(self, ledger: Ledger) -> None:
        """Move hits that an incomplete recording lacks from *recorded* to ``output_closed``."""
        end, last = self._ledgers[0] if self._ledgers else (0, Ledger())
        last = last if end <= self.size else Ledger()
        ledger.lose("output_closed", ledger.recorded - last.recorded)
        ledger.recorded = last.recorded
        ledger.truncated, ledger.fallback = last.truncated, last.fallback

    def _write(self, data: bytes) -> None:
        self._ledgers.append((self.size + len(self._rest) + len(data), self._ledger))
        if not self._outlet:
            assert self._file
            self._file.write(data)
            self.size = self._begun = self._begun + len(data)
            return
        self._rest += data
        try:
            taken = self._outlet.write(self._rest, self.patience)
            self._rest = self._rest[taken:]
        except OSError as error:
            raise OutputError(error, self.name) from error
        finally:
            self.size = self._begun + self._outlet.written
            while len(self._ledgers) > 1 and self._ledgers[1][0] <= self.size:
                del self._ledgers[0]
