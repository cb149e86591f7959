# SPDX-License-Identifier: MIT
"""NMIs for the guest: its requests on one side, QEMU's monitor (QMP) on the other.

The guest writes lines to its port ``monitor``, and gets a line for each::

    nmi           ok
    nmi TAG       TAG ok
    nmi TAG       TAG failed WHY

The tag, any word, lets a reader tell its own answer from one that somebody else left unread.
QMP is lines of JSON, described in QEMU's ``docs/interop/qmp-spec``.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections import deque

from kwalk.lab.streams import LineSplitter

_LONGEST_TAG = 64


class Monitor:
    """Does what the guest asks for. It never blocks, and never raises for a monitor that fails.

    :param qmp: Connected to QEMU's monitor.
    :param port: The host's end of the guest's port ``monitor``.
    """

    def __init__(self, qmp: socket.socket, port: socket.socket) -> None:
        self._qmp = qmp
        self._port = port
        self._from_qemu = LineSplitter()
        self._from_guest = LineSplitter()
        # Whom each command's answer is for, None: nobody. QEMU answers in the commands' order.
        self._waiting: deque[str | None] = deque()
        self._lost = ""
        # QEMU reads it when it is there, and sends a greeting that nothing here depends on.
        self._execute("qmp_capabilities", None)

    def feed_guest(self, data: bytes) -> None:
        """Take what the guest wrote to its port."""
        for line in self._from_guest.feed(data):
            word, *more = line.decode("ascii", "replace").split() or [""]
            tag = more[0][:_LONGEST_TAG] if more else ""
            if word == "nmi":
                self._execute("inject-nmi", tag)
            else:
                self._answer(tag, "failed the host knows no such request")

    def feed_qemu(self, data: bytes) -> None:
        """Take what QEMU's monitor wrote."""
        for line in self._from_qemu.feed(data):
            if self._lost or not line.strip():
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict):
                self.give_up("QEMU's monitor does not speak JSON")
            elif "return" in message or "error" in message:
                self._answered(message.get("error"))
            # All else is the greeting or an event.

    def give_up(self, why: str) -> None:
        """Give the monitor up: whoever waits for an answer, or asks from now on, is told why."""
        self._lost = self._lost or why
        while self._waiting:
            self._answer(self._waiting.popleft(), f"failed {self._lost}")

    def _answered(self, error: object) -> None:
        tag = self._waiting.popleft() if self._waiting else None
        if error is None:
            self._answer(tag, "ok")
        else:
            why = error.get("desc") if isinstance(error, dict) else error
            self._answer(tag, f"failed QEMU says: {why}")

    def _execute(self, command: str, tag: str | None) -> None:
        if self._lost:
            self._answer(tag, f"failed {self._lost}")
            return
        line = json.dumps({"execute": command}).encode() + b"\n"
        try:
            # A local socket takes so short a message as a whole or not at all.
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
        # It fails for a guest that has read none of hundreds of answers, or that is gone.
        with contextlib.suppress(OSError):
            self._port.send(line.encode(), socket.MSG_DONTWAIT)
