# SPDX-License-Identifier: MIT
"""The command that a user wants traced: started, held until all is attached, waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from kwalk.errors import UsageError


class Child:
    """A process that becomes the command once ``go`` is called.

    Use it in a ``with``: it does not outlive that.

    :param words: The command and its arguments.
    :param output: Where its outputs go, with nothing for it to read; None leaves both as they are.
    """

    def __init__(self, words: Sequence[str], output: int | None = None) -> None:
        self._words = list(words)
        self._output = output
        held, self._let_go = os.pipe()
        self._failure, failed = os.pipe()  # closed by a successful exec, as Python's pipes are
        self.pid = os.fork()
        if not self.pid:
            os.close(self._let_go)
            self._become(held, failed)
        os.close(held)
        os.close(failed)
        self._status: int | None = None

    def _become(self, held: int, failed: int) -> None:
        code = 127
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            if self._output is not None:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(self._output, 1)
                os.dup2(self._output, 2)
            if os.read(held, 1):
                os.execvp(self._words[0], self._words)
        except OSError as error:
            os.write(failed, str(error.strerror).encode())
        finally:
            os._exit(code)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._let_go, self._failure):
            if fd >= 0:
                os.close(fd)
        self._let_go = self._failure = -1
        if self._status is None:
            os.kill(self.pid, signal.SIGTERM)
            self._status = os.waitpid(self.pid, 0)[1]

    def go(self) -> None:
        """Let the command run.

        :raises UsageError: if it cannot be.
        """
        os.write(self._let_go, b"!")
        reason = os.read(self._failure, 256)
        if reason:
            raise UsageError(
                f"{self._words[0]} cannot be run: {reason.decode()}",
                "Give a program and its arguments, each a word of its own.",
            )

    def note(self) -> str:
        """Return how the command ended, if it did and not well; else ""."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid:
                return f"{self._words[0]} was still running and has been ended"
            self._status = status
        code = os.waitstatus_to_exitcode(self._status)
        if code < 0:
            return f"{self._words[0]} was ended by signal {-code}"
        return f"{self._words[0]} ended with exit code {code}" if code else ""
