# SPDX-License-Identifier: MIT
"""Injection of NMIs at the guest's request, through QEMU's monitor (QMP).

The guest writes lines to its port ``monitor`` and reads one answer for each::

    nmi           ok
    nmi TAG       TAG ok
    nmi TAG       TAG failed WHY

The tag is any word. By it a reader recognizes its own answer among answers that other programs
left unread. QMP is lines of JSON, described in QEMU's ``docs/interop/qmp-spec``.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections import deque

from kwalk.lab.streams import LineSplitter

_LONGEST_TAG = 64


class Monitor:
    """Executor of the guest's requests. It never blocks, and reports QMP errors to the guest.

    :param qmp: Socket connected to QEMU's monitor.
    :param port: Host end of the guest's port ``monitor``.
    """

    def __init__(self, qmp: socket.socket, port: socket.socket) -> None:
        self._qmp = qmp
        self._port = port
        self._from_qemu = LineSplitter()
        self._from_guest = LineSplitter()
        # Tag of each pending command, None for kwalk's own. QEMU answers in order.
        self._waiting: deque[str | None] = deque()
        self._failure = ""
        # Sent before QEMU's greeting, which is not waited for.
        self._execute("qmp_capabilities", None)

    def feed_guest(self, data: bytes) -> None:
        """Process data that the guest wrote to its port."""
        for line in self._from_guest.feed(data):
            word, *more = line.decode("ascii", "replace").split() or [""]
            tag = more[0][:_LONGEST_TAG] if more else ""
            if word == "nmi":
                self._execute("inject-nmi", tag)
            else:
                self._answer(tag, "failed the host knows no such request")

    def feed_qemu(self, data: bytes) -> None:
        """Process data from QEMU's monitor."""
        for line in self._from_qemu.feed(data):
            if self._failure or not line.strip():
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict):
                self.give_up("QEMU's monitor does not speak JSON")
            elif "return" in message or "error" in message:
                self._answered(message.get("error"))
            # Other messages: the greeting, or an event.

    def give_up(self, why: str) -> None:
        """Stop using QEMU's monitor; fail all pending and future requests with this reason."""
        self._failure = self._failure or why
        while self._waiting:
            self._answer(self._waiting.popleft(), f"failed {self._failure}")

    def _answered(self, error: object) -> None:
        tag = self._waiting.popleft() if self._waiting else None
        if error is None:
            self._answer(tag, "ok")
        else:
            why = error.get("desc") if isinstance(error, dict) else error
            self._answer(tag, f"failed QEMU says: {why}")

    def _execute(self, command: str, tag: str | None) -> None:
        if self._failure:
            self._answer(tag, f"failed {self._failure}")
            return
        line = json.dumps({"execute": command}).encode() + b"\n"
        try:
            # A local socket takes a message this short as a whole or not at all.
            self._qmp.send(line, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._answer(tag, "failed QEMU's monitor does not keep up")
        except OSError as error:
            self._waiting.append(tag)
            self.give_up(f"QEMU's monitor is gone: {error.strerror}")
        else:
            self._waiting.append(tag)

    def _answer(self, tag: str | None, text: str) -> None:
        if tag is None:
            return
        line = " ".join(f"{tag} {text}".split()) + "\n"
        # Fails if the guest has left hundreds of answers unread, or has ended.
        with contextlib.suppress(OSError):
            self._port.send(line.encode(), socket.MSG_DONTWAIT)
