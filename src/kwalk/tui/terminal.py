# SPDX-License-Identifier: MIT
"""Full-screen terminal with keyboard input; its state is restored at the end."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from kwalk.errors import OutputError
from kwalk.support.aborting import at_abort
from kwalk.support.outlet import STALLED_SECONDS, Outlet, Patience, endless
from kwalk.tui.keys import Decoder

# The alternate screen, so that the old contents come back; no cursor.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[m\x1b[?25h\x1b[?1049l"
# Maximum gap between the bytes of one key, on a slow line.
_ESC_SECONDS = 0.05
_SMALLEST = 20, 5


class Terminal:
    """Full-screen terminal, used in a ``with``, which restores it however the block ends.

    Rich's Live is not used: it takes some 10 ms of CPU time per screen, although nearly all lines
    are unchanged. That is more than the rest of an interval's work.

    :param fd: The terminal to write to.
    :param patience: Limits the wait for a stopped terminal.
    :ivar keyboard: Descriptor to poll for keys; -1 if there is no keyboard.
    :ivar gone: The keyboard has reached end of file.
    :raises OutputError: from every method that writes.
    """

    def __init__(self, fd: int, patience: Patience = endless) -> None:
        self._fd = fd
        self._patience = patience
        self._outlet = Outlet(fd)
        self._held = ExitStack()
        self.keyboard = -1
        self.gone = False
        self._decoder = Decoder()
        self._drawn: list[str] = []
        self._resized = self._suspended = False
        self._handlers: dict[int, Any] = {}
        self._mode: list[Any] = []

    def __enter__(self) -> Terminal:
        self.keyboard = _keyboard()
        self._handlers = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
        }
        self._held.callback(self._outlet.close)
        self._held.enter_context(at_abort(self._give_back_at_once))
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give_back()
        finally:
            self._held.close()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            if self.keyboard >= 0:
                os.close(self.keyboard)
                self.keyboard = -1

    def _note(self, number: int, frame: object) -> None:
        if number == signal.SIGTSTP:
            self._suspended = True
        else:
            self._resized = True

    def _take(self) -> None:
        if self.keyboard >= 0:
            self._mode = termios.tcgetattr(self.keyboard)
            tty.setcbreak(self.keyboard, termios.TCSANOW)
            mode = termios.tcgetattr(self.keyboard)
            mode[6][termios.VQUIT] = b"\0"  # Ctrl-\ would leave the terminal like this
            termios.tcsetattr(self.keyboard, termios.TCSANOW, mode)
        self._write(_ENTER)
        self._drawn = []

    def _give_back(self, patience: float = STALLED_SECONDS) -> None:
        try:
            with suppress(OSError):  # the terminal may be closed
                self._outlet.write(_LEAVE.encode(), lambda stalled: stalled < patience)
        finally:
            if self._mode:
                with suppress(termios.error):  # TCSANOW: a stopped terminal cannot be drained
                    termios.tcsetattr(self.keyboard, termios.TCSANOW, self._mode)
                self._mode = []

    def _give_back_at_once(self) -> None:
        self._give_back(0.0)

    def heed(self) -> bool:
        """Handle pending signals: stop on Ctrl-Z, note a new size; return whether to redraw all."""
        if self._suspended:
            self._suspended = False
            self._give_back()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._take()
            return True
        anew, self._resized = self._resized, False
        if anew:
            self.forget()
        return anew

    def forget(self) -> None:
        """Clear the screen, so that the next ``draw`` writes every line."""
        self._drawn = []
        self._write("\x1b[2J")

    def size(self) -> tuple[int, int]:
        """Return columns and lines, 80 x 24 if unknown."""
        try:
            width, height = os.get_terminal_size(self._fd)
        except OSError:
            width = height = 0
        # A serial line reports 0 x 0.
        width, height = width or 80, height or 24
        return max(width, _SMALLEST[0]), max(height, _SMALLEST[1])

    def keys(self) -> list[str]:
        """Return the keys pressed since the last call; does not wait for one."""
        found: list[str] = []
        while (
            self.keyboard >= 0
            and not self.gone
            and self._ready(_ESC_SECONDS if self._decoder.waits else 0)
        ):
            try:
                data = os.read(self.keyboard, 1024)
            except OSError:
                data = b""
            self.gone = not data
            found += self._decoder.feed(data)
        return found + self._decoder.rest()

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self.keyboard], [], [], seconds)[0])

    def draw(self, lines: Sequence[str]) -> None:
        """Show the lines; writes only changed ones."""
        parts = []
        for at, line in enumerate(lines):
            if at >= len(self._drawn) or self._drawn[at] != line:
                # Erase before: after a full line, erasing would remove its last character.
                parts.append(f"\x1b[{at + 1};1H\x1b[2K{line}")
        self._drawn = list(lines)
        if parts:
            self._write("".join(parts))

    def _write(self, text: str) -> None:
        try:
            self._outlet.write(text.encode(errors="replace"), self._patience)
        except OSError as error:
            raise OutputError(error) from error


def _keyboard() -> int:
    """Open the terminal to read keys from; return its descriptor, or -1."""
    try:
        if sys.stdin is not None and os.isatty(sys.stdin.fileno()):
            return os.dup(sys.stdin.fileno())
        return os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1
