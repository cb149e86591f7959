# SPDX-License-Identifier: MIT
"""Processes that kwalk starts end with it, even where it is killed."""

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
    """Return what a new process calls before it becomes another program (``preexec_fn``).

    The kernel kills it when the thread ends that started it, not only the process (prctl(2)): so
    nothing is asked of it in any thread but the first.
    """
    if threading.get_native_id() != os.getpid():
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before this was asked for
            os._exit(1)

    return bind


class Killer:
    """A process that kills others should this one end before ``dismiss``, whichever thread began.

    What the kernel kills by itself is one process, and not what that has started.

    :param pid: Of a child that is not waited for before ``dismiss``: its number stays its own.
    :param group: Kill the process group of this number.
    :raises OSError: if a limit of the machine is met.
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
        """End it; may be called again."""
        if self._pid:
            with suppress(ProcessLookupError):  # code that waits for any process has
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0


def _watch(parent: int, pid: int, group: bool) -> None:
    """Wait for the parent's end, out of reach of a terminal's signals, holding nobody's files."""
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
