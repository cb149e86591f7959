# SPDX-License-Identifier: MIT
"""Unbuffered standard output: written text has reached the kernel when the function returns."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import RawIOBase, TextIOWrapper, UnsupportedOperation
from typing import Any, TextIO

from kwalk.errors import OutputError
from kwalk.support.outlet import STALLED_SECONDS, Outlet, Patience
from kwalk.support.printable import plain_lines


def open_streams() -> None:
    """Open /dev/null for each standard stream that the shell closed (``>&-``).

    Otherwise the next file to be opened would get its descriptor. Standard output remains
    unwritable; writes to standard error are discarded.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            flags = os.O_RDONLY if number == 1 else os.O_RDWR
            os.set_inheritable(os.open(os.devnull, flags), True)  # takes the lowest number
    # Python sets closed streams to None, and print(file=None) writes to sys.stdout.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def check_stdout() -> None:
    """Check that standard output is writable, before time is spent on its contents.

    :raises OutputError: if the shell closed it.
    """
    import fcntl

    with suppress(UnsupportedOperation):  # replaced by a stream without a descriptor
        if fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OutputError(OSError(errno.EBADF, os.strerror(errno.EBADF)))


class _Notices(RawIOBase):
    """Raw standard error that drops a notice if nobody reads it in time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._outlet = Outlet(fd)
        self._patience = STALLED_SECONDS

    def fileno(self) -> int:
        """See ``IOBase.fileno``."""
        return self._fd

    def writable(self) -> bool:
        """See ``IOBase.writable``."""
        return True

    def isatty(self) -> bool:
        """See ``IOBase.isatty``."""
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        """Write the bytes that are taken in time and drop the rest."""
        size = len(data)
        with suppress(OSError):
            taken = self._outlet.write(bytes(data), lambda stalled: stalled < self._patience)
            # After one stall, never wait again.
            self._patience = STALLED_SECONDS if taken == size else 0.0
        return size

    def close(self) -> None:
        """See ``IOBase.close``; the descriptor stays open."""
        if not self.closed:
            self._outlet.close()
        super().close()


def notices(stream: TextIO) -> TextIO:
    """Return a replacement for standard error whose writes never fail or hang."""
    try:
        fd = stream.fileno()
    except (UnsupportedOperation, ValueError):  # no descriptor, or closed
        return stream
    raw: Any = _Notices(fd)
    return TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors="backslashreplace",
        write_through=True,
    )


def settle(stream: TextIO) -> None:
    """Flush a stream's buffer.

    On failure the stream goes to /dev/null, so that Python's flush at exit does not fail again.
    """
    try:
        stream.flush()
    except OSError:
        close(stream)


def close(stream: TextIO) -> None:
    """Redirect a stream's descriptor to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def encoded(text: str) -> bytes:
    """Encode text as UTF-8; lone surrogates, as in undecodable file names, become ``?``."""
    return text.encode(errors="replace")


def write(text: str) -> bool:
    """Write text for people, or JSON, to standard output, sanitized; see ``write_pieces``."""
    return write_pieces([encoded(plain_lines(text, styles=True))])


def write_pieces(pieces: Sequence[bytes]) -> bool:
    """Write all pieces to standard output; return False if the reader has gone.

    Blocks as long as the reader does, so no probe may be attached meanwhile.

    :raises OutputError: on any other error.
    """
    # Joined: writev() of many small pieces costs the kernel more than the copy.
    rest = memoryview(b"".join(pieces))
    try:
        fd = sys.stdout.fileno()
    except UnsupportedOperation:  # replaced by a stream without a descriptor
        sys.stdout.write(bytes(rest).decode())
        return True
    try:
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # another process set O_NONBLOCK on the shared description
                with Outlet(fd) as outlet:
                    rest = rest[outlet.write(rest) :]
    except BrokenPipeError:
        close(sys.stdout)
        return False
    except OSError as error:
        close(sys.stdout)
        raise OutputError(error) from error
    return True


class Printer:
    """Standard output while probes are attached: a stalled reader does not block kwalk.

    :ivar open: Whether more can be written.
    :ivar failed: The error that ended the output; None if the reader left.
    """

    def __init__(self) -> None:
        self.open = True
        self.failed: OutputError | None = None
        self._rest = b""

    def put(self, data: bytes | memoryview, patience: Patience) -> int:
        """Write; return the bytes taken before patience ended or the output failed."""
        if not self.open:
            return 0
        try:
            outlet = Outlet(sys.stdout.fileno())
        except UnsupportedOperation:  # replaced by a stream without a descriptor
            sys.stdout.write(bytes(data).decode())
            return len(data)
        with outlet:
            try:
                outlet.write(data, patience)
            except OSError as error:
                self.end()
                if not isinstance(error, BrokenPipeError):
                    self.failed = OutputError(error)
            return outlet.written

    def write(self, text: str, patience: Patience) -> bool:
        """Write a whole unit of text, sanitized; return whether all of it was taken.

        The remainder is kept for the next ``write``.
        """
        data = self._rest + encoded(plain_lines(text, styles=True))
        self._rest = data[self.put(data, patience) :]
        return self.open and not self._rest

    def complete(self, text: str, patience: Patience) -> bool:
        """Write like ``write``, but end the output if not all of the text is taken."""
        whole = self.write(text, patience)
        if not whole:
            self.end()
        return whole

    def end(self) -> None:
        """End the output; further writes are ignored."""
        self.open = False
        close(sys.stdout)
