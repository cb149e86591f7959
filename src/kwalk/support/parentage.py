# SPDX-License-Identifier: MIT
"""Child processes that are killed when kwalk ends, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def ends_with_us() -> Callable[[], None]:
    """Return a ``preexec_fn`` that has the kernel kill the child with its parent.

    PR_SET_PDEATHSIG fires when the parent *thread* ends, not only the process (prctl(2)), so the
    function does nothing when called outside the main thread.
    """
    if threading.get_native_id() != os.getpid():
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before prctl()
            os._exit(1)

    return bind


class Killer:
    """Helper process that kills a child if this process ends before ``dismiss``.

    PR_SET_PDEATHSIG covers one process without its descendants, and only in the main thread. This
    works in any thread.

    :param pid: A child that is not reaped before ``dismiss``, so that its pid is not reused.
    :param group: Kill the process group ``pid``.
    :raises OSError: if a limit on processes or descriptors is reached.
    """

    def __init__(self, pid: int, group: bool) -> None:
        ours = os.pidfd_open(os.getpid())
        try:
            self._pid = os.fork()
            if not self._pid:
                try:
                    _watch(ours, pid, group)
                finally:
                    os._exit(0)
        finally:
            os.close(ours)

    def dismiss(self) -> None:
        """Kill the helper process; further calls do nothing."""
        if self._pid:
            with suppress(ProcessLookupError):  # reaped by code that waits for any child
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0


def _watch(parent: int, pid: int, group: bool) -> None:
    """Wait for the parent to end, then kill; ignores terminal signals, keeps no inherited files."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(parent, 0)
    os.closerange(1, 1 << 30)
    os.chdir("/")
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.poll()
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)
