# SPDX-License-Identifier: MIT
"""Parsers of the data from the guest's ports."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from kwalk.errors import KwalkError
from kwalk.support.printable import plain

_LONGEST = 1 << 16  # bytes of a line
_LONGEST_OF_CONSOLE = 1 << 12
_EXIT_CODE = re.compile(r"[0-9]{1,3}", re.ASCII)


class LineSplitter:
    """Incremental splitter of data into lines. A line that is too long loses its beginning.

    :param longest: Maximum length of a line in bytes.
    """

    def __init__(self, longest: int = _LONGEST) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add data and return the lines that it completes."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._rest += end
            lines.append(bytes(self._rest[-self._longest :]))
            self._rest.clear()
        self._rest += rest
        # At twice the length only, so that each byte is moved a few times at most.
        if len(self._rest) > 2 * self._longest:
            del self._rest[: -self._longest]
        return lines

    @property
    def rest(self) -> bytes:
        """The incomplete last line."""
        return bytes(self._rest[-self._longest :])


class GuestOutput:
    """Forwarder of a byte stream, up to the token that ends it.

    :param token: Written by the guest after the last byte.
    :param write: Receives the data.
    :ivar ended: The token has arrived.
    """

    def __init__(self, token: bytes, write: Callable[[bytes], object]) -> None:
        self._token = token
        self._write = write
        self._held = b""
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Forward data from the port, except a tail that may be the token's beginning."""
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
        """Forward the rest; call it if the machine ended without writing the token."""
        if self._held:
            self._write(self._held)
            self._held = b""


class Control:
    """Parser of the control port: the command's start and end.

    :ivar ready: The command has been started.
    :ivar code: The command's exit code; None until it has ended.
    """

    def __init__(self) -> None:
        self.ready = False
        self.code: int | None = None
        self._lines = LineSplitter()

    def feed(self, data: bytes) -> None:
        """Process data from the port.

        :raises KwalkError: if an exit code is invalid: any program of the guest's root can write
            to this port.
        """
        for line in self._lines.feed(data):
            word, _, value = line.decode("ascii", "replace").partition(" ")
            if word == "ready":
                self.ready = True
            elif word == "exit" and self.code is None:
                if not _EXIT_CODE.fullmatch(value) or int(value) > 255:
                    raise KwalkError(
                        f"the virtual machine reported {value!r} in place of an exit code",
                        "Something in it wrote to the port that the lab uses.",
                    )
                self.code = int(value)


class ConsoleLog:
    """Last lines of the guest's console, for the message when it fails.

    :param write: Receives the data as well, with ``--verbose``.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write
        self._kept: deque[bytes] = deque(maxlen=400)
        self._lines = LineSplitter(_LONGEST_OF_CONSOLE)

    def feed(self, data: bytes) -> None:
        """Process data from the console."""
        if self._write:
            self._write(data)
        self._kept.extend(self._lines.feed(data))

    def lines(self) -> list[str]:
        """Return the last lines, without control characters and empty lines."""
        texts = (line.decode("utf-8", "replace") for line in (*self._kept, self._lines.rest))
        printed = (plain(text, instead="").rstrip() for text in texts)
        return [text for text in printed if text]
