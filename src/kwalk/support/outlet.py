# SPDX-License-Identifier: MIT
"""Writes that do not block on a full pipe or a stopped terminal.

O_NONBLOCK belongs to the open file description, which other processes share, so kwalk never sets it
on an inherited descriptor: it reopens pipes and terminals through /proc/self/fd.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress

# Seconds without progress after which pending output is dropped, once kwalk has a reason to end.
STALLED_SECONDS = 1.0
_POLL_SECONDS = 0.1
_PTMX = os.makedev(5, 2)  # reopening it makes a new terminal

Patience = Callable[[float], bool]
"""Decides whether to go on writing; takes the seconds since the last progress."""


def endless(stalled: float) -> bool:
    """Patience without a limit."""
    return True


class Outlet:
    """Writer to a descriptor that may stall; the caller's ``Patience`` ends the wait.

    Files are written directly. On sockets, and on pipes or terminals that cannot be reopened
    (another user's), a write has at most PIPE_BUF bytes so that it does not block (pipe(7)).

    :param fd: Remains owned by the caller.
    :ivar written: Bytes written so far.
    """

    def __init__(self, fd: int) -> None:
        self.written = 0
        self._fd = fd
        self._own = -1
        found = os.fstat(fd)
        terminal = os.isatty(fd)
        self._blocks = stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode) or terminal
        if stat.S_ISFIFO(found.st_mode) or (terminal and found.st_rdev != _PTMX):
            with suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._own = os.open(f"/proc/self/fd/{fd}", flags)
        self._poll = select.poll()
        self._poll.register(self._fd if self._own < 0 else self._own, select.POLLOUT)

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the reopened descriptor."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def write(self, data: bytes | memoryview, patience: Patience = endless) -> int:
        """Write until all is taken or patience ends; return the number of bytes taken.

        :raises OSError: if the descriptor fails; ``written`` includes the bytes before that.
        """
        rest = memoryview(data)
        before = self.written
        moved = time.monotonic()
        while rest:
            taken = self._take(rest) if self._blocks else os.write(self._fd, rest)
            self.written += taken
            rest = rest[taken:]
            if self._blocks and rest:
                now = time.monotonic()
                moved = now if taken else moved
                if not patience(now - moved):
                    break
        return self.written - before

    def _take(self, rest: memoryview) -> int:
        """Wait for room, at most ``_POLL_SECONDS``, and write as much as fits."""
        if not self._poll.poll(_POLL_SECONDS * 1000):
            return 0
        try:
            if self._own >= 0:
                return os.write(self._own, rest)
            return os.write(self._fd, rest[: select.PIPE_BUF])
        except BlockingIOError:
            return 0
