# SPDX-License-Identifier: MIT
"""Writes to a stream that may stall, without blocking the caller."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from io import UnsupportedOperation
from typing import BinaryIO

from kwalk.errors import OutputError

_ROOM = 1 << 20  # bytes pending
_PIECE = 1 << 16


class PatientWriter:
    """Writer to a stream through a thread, which waits if nobody reads.

    A stream without a descriptor, such as ``io.BytesIO``, is written directly.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ready = threading.Condition()
        self._waiting = bytearray()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        #: Becomes readable when there may be room again, or after an error.
        self.wake, self._woken = socket.socketpair()
        try:
            self._fd = stream.fileno()
            stream.flush()
        except UnsupportedOperation:
            self._fd = -1
        except OSError as error:
            self._error = error

    def write(self, data: bytes) -> None:
        """Queue bytes without a limit.

        :raises BrokenPipeError: if the stream's reader has gone.
        :raises OutputError: if writing failed for another reason.
        """
        self.check()
        if self._fd < 0:
            try:
                self._stream.write(data)
                self._stream.flush()
            except OSError as error:
                self._error = error
            self.check()
            return
        with self._ready:
            self._waiting += data
            self._ready.notify_all()
        if self._thread is None:
            # A daemon thread does not keep the process alive while it waits for a reader.
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Raise the thread's error, if there is one; see :meth:`write`."""
        if isinstance(self._error, BrokenPipeError):
            raise self._error
        if self._error:
            raise OutputError(self._error) from self._error

    @property
    def full(self) -> bool:
        """Whether the queue is full: write no more until ``wake`` is readable."""
        return len(self._waiting) >= _ROOM and not self._error

    def drain(self, seconds: float | None = None) -> None:
        """Wait until everything is written.

        :param seconds: Maximum time to wait; None for no limit.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._ready:
            while self._waiting and not self._error:
                # In short waits, so that Ctrl-C is handled.
                wait = 0.5 if end is None else min(end - time.monotonic(), 0.5)
                if wait <= 0:
                    return
                self._ready.wait(wait)
        self.check()

    def close(self) -> None:
        """Stop the thread; pending bytes are not written."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self.wake.close()
        self._woken.close()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closed:
                    self._ready.wait()
                if self._closed:
                    return
                piece = bytes(self._waiting[:_PIECE])
            try:
                done = os.write(self._fd, piece)
            except OSError as error:
                done = 0
                self._error = error
            with self._ready:
                full = self.full
                del self._waiting[:done]
                self._ready.notify_all()
                if not self._closed and (self._error or full > self.full):
                    with contextlib.suppress(BlockingIOError):  # wake is readable anyway
                        self._woken.send(b"\0", socket.MSG_DONTWAIT)
            if self._error:
                return
