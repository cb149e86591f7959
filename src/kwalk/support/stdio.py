# SPDX-License-Identifier: MIT
"""Standard output, without Python's buffer between: what has been written has been written."""

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
    """Open what a shell has closed (``>&-``): else the next file would be taken for it.

    Standard output can't be written then, as before; what goes to the others goes nowhere.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            flags = os.O_RDONLY if number == 1 else os.O_RDWR
            os.set_inheritable(os.open(os.devnull, flags), True)  # takes the lowest number
    # Python has none for those that were closed; print() would turn from one to the other.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def check_stdout() -> None:
    """See to it that standard output can be written, before time is spent on what goes there.

    :raises OutputError: if it was closed.
    """
    import fcntl

    with suppress(UnsupportedOperation):  # something else stands in for it, within a program
        if fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OutputError(OSError(errno.EBADF, os.strerror(errno.EBADF)))


class _Notices(RawIOBase):
    """Standard error, where a notice that nobody takes changes nothing else."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._outlet = Outlet(fd)
        self._patience = STALLED_SECONDS

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def writable(self) -> bool:
        """As in ``IOBase``."""
        return True

    def isatty(self) -> bool:
        """As in ``IOBase``."""
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        """Write what is taken in time; of the rest nobody hears."""
        size = len(data)
        with suppress(OSError):
            taken = self._outlet.write(bytes(data), lambda stalled: stalled < self._patience)
            # Who has stalled once is not waited for again.
            self._patience = STALLED_SECONDS if taken == size else 0.0
        return size

    def close(self) -> None:
        """As in ``IOBase``; the descriptor stays."""
        if not self.closed:
            self._outlet.close()
        super().close()


def notices(stream: TextIO) -> TextIO:
    """Return a stream to use in place of standard error: writing to it never fails, nor hangs."""
    try:
        fd = stream.fileno()
    except (UnsupportedOperation, ValueError):  # something else stands in for it
        return stream
    raw: Any = _Notices(fd)
    return TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors="backslashreplace",
        write_through=True,
    )


def settle(stream: TextIO) -> None:
    """Write what is left in a stream's buffer.

    Where that can't be, what follows, as Python's own flush at exit, goes nowhere.
    """
    try:
        stream.flush()
    except OSError:
        close(stream)


def close(stream: TextIO) -> None:
    """Let what is written to a stream from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def encoded(text: str) -> bytes:
    """Return text as UTF-8; what is none of it, as in names of files, becomes a question mark."""
    return text.encode(errors="replace")


def write(text: str) -> bool:
    """Write text for people (or JSON) to standard output at once, cleaned; as ``write_pieces``."""
    return write_pieces([encoded(plain_lines(text, styles=True))])


def write_pieces(pieces: Sequence[bytes]) -> bool:
    """Write all of them to standard output; return False if nobody reads it any more.

    It takes as long as the reader does: for what is attached to nothing.

    :raises OutputError: if it cannot be written for another reason.
    """
    # One copy of many pieces; writev() would have the kernel take each by itself, at a higher cost.
    rest = memoryview(b"".join(pieces))
    try:
        fd = sys.stdout.fileno()
    except UnsupportedOperation:  # something else stands in for it, within a program
        sys.stdout.write(bytes(rest).decode())
        return True
    try:
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # a process that shares it has set O_NONBLOCK
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
    """Standard output of what goes on meanwhile: a reader that takes nothing does not hold it up.

    :ivar open: Whether more can be written.
    :ivar failed: Why not, if that is an error; a reader may leave.
    """

    def __init__(self) -> None:
        self.open = True
        self.failed: OutputError | None = None
        self._rest = b""

    def put(self, data: bytes | memoryview, patience: Patience) -> int:
        """Write; return how many bytes were taken, by when patience or the reader has gone."""
        if not self.open:
            return 0
        try:
            outlet = Outlet(sys.stdout.fileno())
        except UnsupportedOperation:  # something else stands in for it, within a program
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
        """Write text that makes sense as a whole, cleaned; return whether all of it was taken.

        What was not is kept for the next ``write``.
        """
        data = self._rest + encoded(plain_lines(text, styles=True))
        self._rest = data[self.put(data, patience) :]
        return self.open and not self._rest

    def complete(self, text: str, patience: Patience) -> bool:
        """As ``write``; where not all of it is taken, nothing is written any more."""
        whole = self.write(text, patience)
        if not whole:
            self.end()
        return whole

    def end(self) -> None:
        """Write no more."""
        self.open = False
        close(sys.stdout)
