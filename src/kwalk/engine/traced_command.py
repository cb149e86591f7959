# SPDX-License-Identifier: MIT
"""The traced command: forked, held until the probe is attached, then executed and waited for."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from errno import EAGAIN
from pathlib import Path

from kwalk.errors import CommandEnded, KwalkError, UsageError
from kwalk.support.parentage import Killer, ends_with_us

# Time to exit between SIGTERM and SIGKILL.
GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_LONGEST = 1e6  # seconds; poll(2) takes a number of milliseconds of 32 bits


class Child:
    """A forked process that waits, and executes the command once ``go`` is called.

    The end of the ``with`` ends the command, too: by SIGTERM, then by SIGKILL after
    ``GRACE_SECONDS``.

    It has a process group of its own. All of that group is ended with it, such as background jobs
    of a shell. Ctrl-C reaches kwalk alone, which ends the group.

    If standard input is a terminal, the command stays in kwalk's process group, the one in the
    foreground: the kernel stops background processes that read the terminal. Ctrl-C then reaches
    the command as well, and kwalk ends only the command's process.

    :param words: Command and arguments.
    :param output: Descriptor for its stdout and stderr, with an empty stdin; None leaves all three.
    :ivar pid: Process id.
    """

    def __init__(self, words: Sequence[str], output: int | None = None) -> None:
        self._words = list(words)
        self._output = output
        held, self._let_go = os.pipe()
        self._failure, failed = os.pipe()  # O_CLOEXEC: closed by a successful exec
        self._group = output is not None or not os.isatty(0)
        self._status: int | None = None
        bind = ends_with_us()
        try:
            self.pid = os.fork()
        except OSError as error:
            raise self._unstarted(error, held, failed) from None
        if not self.pid:
            os.close(self._let_go)
            bind()
            self._become(held, failed)
        if self._group:
            os.setpgid(self.pid, self.pid)  # before exec: the process is still held
        try:
            self._guard = Killer(self.pid, self._group)
        except OSError as error:
            self._send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise self._unstarted(error, held, failed) from None
        os.close(held)
        os.close(failed)

    def _unstarted(self, error: OSError, *more: int) -> KwalkError:
        """Close the pipes; return the error to raise."""
        from kwalk.kernel import shortage

        for fd in (*more, self._let_go, self._failure):
            os.close(fd)
        limit = shortage.processes() if error.errno == EAGAIN else shortage.hint(error.errno or 0)
        return KwalkError(f"{self._words[0]} cannot be started: {error.strerror}", limit)

    def _become(self, held: int, failed: int) -> None:
        code = 127
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            if self._output is not None:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(self._output, 1)
                os.dup2(self._output, 2)
            if os.read(held, 1):
                os.execvp(self._words[0], self._words)
        except OSError as error:
            os.write(failed, str(error.strerror).encode())
        except ValueError:
            os.write(failed, b"a word contains a character that an argument cannot have")
        finally:
            os._exit(code)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._let_go, self._failure):
            if fd >= 0:
                os.close(fd)
        self._let_go = self._failure = -1
        if self._status is not None:
            return
        if self._ends_within(0):
            self._reap()
        elif self._end():
            with suppress(OSError):  # only a notice
                print(
                    f"kwalk: {self._words[0]} did not end within {GRACE_SECONDS:g} s of SIGTERM: "
                    "killed",
                    file=sys.stderr,
                    flush=True,
                )

    def _end(self) -> bool:
        """End it, at once on Ctrl-C; return whether SIGKILL was needed."""
        killed = True
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)  # it may have been stopped
            killed = not (self._ends_within(GRACE_SECONDS) and self._alone_by(deadline))
        finally:
            if killed:
                self._send(signal.SIGKILL)
            self._reap()
        return killed

    def kill(self) -> None:
        """Send SIGKILL to it and its group, without waiting."""
        if self._status is None:
            self._send(signal.SIGKILL)

    def _reap(self) -> None:
        # Until then its pid and process group cannot be reused.
        self._look(0)

    def _look(self, options: int) -> None:
        if options and not self._ends_within(0):
            return
        self._guard.dismiss()
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # reaped by other code of this process; the status is lost
            pid, status = self.pid, 0
        if pid:
            self._status = status

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if self._group else os.kill)(self.pid, number)

    def _ends_within(self, seconds: float | None) -> bool:
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # see _look
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            return bool(poll.poll(None if seconds is None else seconds * 1000))
        finally:
            os.close(fd)

    def _alone_by(self, deadline: float) -> bool:
        """Whether all other processes of its group have ended by the deadline.

        :param deadline: CLOCK_MONOTONIC, in seconds.
        """
        while self._group and _others(self.pid):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def go(self) -> None:
        """Execute the command.

        :raises UsageError: if exec fails.
        :raises CommandEnded: if a signal has ended the waiting process.
        """
        try:
            os.write(self._let_go, b"!")
        except BrokenPipeError:
            raise CommandEnded(
                f"{self._words[0]} was ended before it could run", "Start it again."
            ) from None
        reason = os.read(self._failure, 256)
        if reason:
            raise UsageError(
                f"{self._words[0]} cannot be run: {reason.decode(errors='replace')}",
                "Give a program and its arguments, each a word of its own.",
            )

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until the command has ended; return whether it has.

        :param seconds: Time limit; None for none.
        """
        limit = None if seconds is None or seconds > _LONGEST else max(0.0, seconds)
        return self._status is not None or self._ends_within(limit)

    def note(self) -> str:
        """Return a note about a command that failed or is still running; "" if it succeeded."""
        if self._status is None:
            self._look(os.WNOHANG)
        if self._status is None:
            return f"{self._words[0]} was still running and has been ended"
        code = os.waitstatus_to_exitcode(self._status)
        if code < 0:
            return f"{self._words[0]} was ended by signal {-code}"
        return f"{self._words[0]} ended with exit code {code}" if code else ""


def _others(group: int) -> bool:
    """Whether a process group has running members other than its leader."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == group:
            continue
        try:
            # Fields after the name: state, ppid, pgrp (proc_pid_stat(5)).
            found = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(found[2]) == group and found[0] not in "ZX":
            return True
    return False
