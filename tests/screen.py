# SPDX-License-Identifier: MIT
"""A program at a pseudo terminal: its screen and its input."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pyte

import forked
from waiting import wait_for

LEAVES = b"\x1b[?1049l"


class Screen:
    """A process with a terminal of its own; use it in a ``with``.

    :param main: Function to run in the process; it returns the exit code.
    :param env: Additional environment variables; TERM is xterm.
    :ivar raw: All of its output.
    """

    def __init__(
        self,
        main: Callable[[], int],
        columns: int = 80,
        lines: int = 24,
        env: dict[str, str] | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._closed = False
        held, let_go = os.pipe()
        self.pid, self._fd = pty.fork()
        if not self.pid:
            forked.finish(lambda: _run(main, held, {"TERM": "xterm"} | (env or {})))
        os.close(held)
        self._size(columns, lines)
        self.mode = self.now()
        os.write(let_go, b"!")
        os.close(let_go)
        self.status: int | None = None

    def _size(self, columns: int, lines: int) -> None:
        termios.tcsetwinsize(self._fd, (lines, columns))

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.status is None:
            forked.kill(self.pid)
        os.close(self._fd)

    def now(self) -> list[Any]:
        """Return the terminal's mode."""
        return termios.tcgetattr(self._fd)

    def resize(self, columns: int, lines: int) -> None:
        """Resize the terminal."""
        self._screen.resize(lines, columns)
        self._size(columns, lines)

    def press(self, keys: str) -> None:
        """Type keys."""
        os.write(self._fd, keys.encode())

    def hang_up(self) -> None:
        """Hang the terminal up, as a broken connection does."""
        spare = os.open(os.devnull, os.O_RDONLY)
        os.dup2(spare, self._fd)
        os.close(spare)

    def _take(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # nobody has it open any more
            self._closed = True
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    @property
    def lines(self) -> list[str]:
        """Lines on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """Screen as one text."""
        return "\n".join(self.lines)

    def until(self, shown: Callable[[], object], seconds: float = 30) -> None:
        """Wait for a condition on the screen.

        :raises AssertionError: with the screen, if it does not come true.
        """

        def seen() -> bool:
            if shown():
                return True
            self._take(0.05)
            assert not self._closed, f"it has ended:\n{self.text}"
            return False

        assert wait_for(seen, seconds, 0), self.text

    def shows(self, text: str, seconds: float = 30) -> None:
        """Wait until a text is on the screen."""
        self.until(lambda: text in self.text, seconds)

    def stops(self, seconds: float = 30) -> None:
        """Wait until the process is stopped, as by Ctrl-Z."""
        self._wait(os.WUNTRACED, seconds)

    def ends(self, seconds: float = 30) -> int:
        """Wait for its end and return its exit code."""
        self.status = self._wait(0, seconds)
        while self._take(0.1):
            pass
        return os.waitstatus_to_exitcode(self.status)

    def _wait(self, options: int, seconds: float) -> int:
        def change() -> tuple[int, ...]:
            self._take(0.02)
            return forked.change(self.pid, options)

        changed = wait_for(change, seconds, 0)
        assert changed, self.text
        return changed[0]


def _run(main: Callable[[], int], held: int, env: dict[str, str]) -> int:
    os.read(held, 1)
    # New streams: pytest has replaced the old ones, which may have been files.
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        file = open(fd, "w" if fd else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, file)
    os.environ |= env
    return main()
