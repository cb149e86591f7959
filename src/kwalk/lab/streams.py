# SPDX-License-Identifier: MIT
"""What comes out of the guest's ports, made whole again on the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Output:
    """Passes a stream on, byte for byte, up to the token that ends it.

    :param token: What the guest writes after the last byte.
    :param write: Takes each piece.
    """

    def __init__(self, token: bytes, write: Callable[[bytes], object]) -> None:
        self._token = token
        self._write = write
        self._held = b""
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take what the port gave; hold back only what may be the token's beginning."""
        data = self._held + data
        if data.endswith(self._token):
            self.ended = True
            self._held = b""
            data = data[: -len(self._token)]
        else:
            sizes = range(min(len(self._token), len(data)), 0, -1)
            kept = next((size for size in sizes if data.endswith(self._token[:size])), 0)
            self._held = data[len(data) - kept :]
            data = data[: len(data) - kept]
        if data:
            self._write(data)

    def finish(self) -> None:
        """Pass on what was held back: the machine ended before it wrote the token."""
        if self._held:
            self._write(self._held)
            self._held = b""


class Control:
    """The control port: when the command starts and how it ends.

    :ivar ready: The command has been started.
    :ivar code: The command's exit code once it has ended.
    """

    def __init__(self) -> None:
        self.ready = False
        self.code: int | None = None
        self._text = b""

    def feed(self, data: bytes) -> None:
        """Take what the port gave."""
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            word, _, value = line.decode("ascii", "replace").partition(" ")
            if word == "ready":
                self.ready = True
            elif word == "exit":
                self.code = int(value)


class ConsoleLog:
    """The last lines of the guest's console, for the message when it fails.

    :param write: Takes each piece as well, for a user who wants to see it.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write
        self._lines: deque[bytes] = deque(maxlen=400)
        self._last = b""

    def feed(self, data: bytes) -> None:
        """Take what the port gave."""
        if self._write:
            self._write(data)
        *lines, self._last = (self._last + data).split(b"\n")
        self._lines.extend(lines)

    def lines(self) -> list[str]:
        """Return the lines kept, without control characters and empty ones."""
        texts = (line.decode("utf-8", "replace") for line in (*self._lines, self._last))
        plain = ("".join(c for c in text if c.isprintable()).rstrip() for text in texts)
        return [text for text in plain if text]
