# SPDX-License-Identifier: MIT
"""Write to pipes that nobody empties, and to stopped terminals, without being held up.

O_NONBLOCK belongs to the open file, which other processes share, so it is never set on a descriptor
that was passed to kwalk: pipes and terminals are opened once more through /proc/self/fd.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress

# Without a reader's taking anything for so long, output that is still to come is given up, once
# there is a reason to end.
STALLED_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_PTMX = os.makedev(5, 2)  # opened again, it is another terminal

Patience = Callable[[float], bool]
"""Whether to go on writing, told for how many seconds nothing has been taken."""


def endless(stalled: float) -> bool:
    """Wait for as long as it takes."""
    return True


class Outlet:
    """Writes to a descriptor as much as it takes, for as long as the caller wants to wait.

    Files are written as they are. Where a pipe or terminal cannot be opened again (it is somebody
    else's), and to sockets, the size of a write keeps it from blocking (pipe(7), PIPE_BUF).

    :param fd: Stays the caller's.
    :ivar written: Bytes so far.
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
        """Free what was opened."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def write(self, data: bytes | memoryview, patience: Patience = endless) -> int:
        """Write, and return how many bytes were taken before patience ended.

        :raises OSError: if no more can be written; ``written`` counts what was.
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
        """Write what there is room for, if there is some within a moment."""
        if not self._poll.poll(_LOOK_SECONDS * 1000):
            return 0
        try:
            if self._own >= 0:
                return os.write(self._own, rest)
            return os.write(self._fd, rest[: select.PIPE_BUF])
        except BlockingIOError:
            return 0
