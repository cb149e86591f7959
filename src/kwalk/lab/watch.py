# SPDX-License-Identifier: MIT
"""Event loop on a machine's ports, until its command has ended or the machine has failed."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Mapping

from kwalk.errors import KwalkError
from kwalk.lab.monitor import Monitor
from kwalk.lab.streams import ConsoleLog, Control, GuestOutput
from kwalk.lab.writer import PatientWriter

#: Limit in seconds from QEMU's start to the command's.
BOOT_TIMEOUT = 120.0
_DRAIN_TIMEOUT = 20.0
# Seconds to write pending output before an error is reported.
_LAST_WORDS = 1.0
_TAIL_LINES = 15
_PIECE = 1 << 16
_NEVER = float("inf")


class BootError(KwalkError):
    """The machine ended or hung before it started the command."""


class Watch:
    """Reader of one machine's ports; also injects the NMIs that the guest requests.

    :param ports: Host end of each of :data:`kwalk.lab.qemu.SOCKETS`.
    :param token: Written by the guest after the command's last byte.
    :param stdout: Receives the command's stdout.
    :param stderr: Receives the command's stderr.
    :param verbose: Write the guest's console to ``stderr``, too.
    """

    def __init__(
        self,
        ports: Mapping[str, socket.socket],
        token: bytes,
        stdout: PatientWriter,
        stderr: PatientWriter,
        verbose: bool = False,
    ) -> None:
        self._control = Control()
        self._console = ConsoleLog(stderr.write if verbose else None)
        self._outputs = (GuestOutput(token, stdout.write), GuestOutput(token, stderr.write))
        self._writers = {ports["stdout"]: stdout, ports["stderr"]: stderr}
        if verbose:
            self._writers[ports["console"]] = stderr
        self._qmp = ports["qmp"]
        self._monitor = Monitor(self._qmp, ports["monitor"])
        self._selector = selectors.DefaultSelector()
        sinks: dict[str, Callable[[bytes], None]] = {
            "stdout": self._outputs[0].feed,
            "stderr": self._outputs[1].feed,
            "control": self._control.feed,
            "console": self._console.feed,
            "monitor": self._monitor.feed_guest,
            "qmp": self._monitor.feed_qemu,
        }
        self._sinks = {ports[name]: sink for name, sink in sinks.items()}
        for port, sink in self._sinks.items():
            self._selector.register(port, selectors.EVENT_READ, sink)
        for writer in (stdout, stderr):
            self._selector.register(writer.wake, selectors.EVENT_READ, writer)
        # Ports that are not read while their writer is full.
        self._paused: set[socket.socket] = set()
        self._open = set(self._sinks)

    def until_the_end(
        self,
        process: subprocess.Popen[bytes],
        timeout: float | None = None,
        boot_timeout: float = BOOT_TIMEOUT,
    ) -> int:
        """Forward the output and return the command's exit code.

        :param timeout: Limit of the command's run time in seconds, including time that it waits
            for a reader. After its end there is no limit on readers.
        :param boot_timeout: Limit in seconds until the command starts.
        :raises BootError: if the command did not start.
        :raises KwalkError: if it started but did not end.
        """
        with self._selector:
            try:
                self._pass_on(timeout, boot_timeout)
            except BaseException:
                with contextlib.suppress(OSError, KwalkError):
                    self._drain(_LAST_WORDS)
                raise
        for output in self._outputs:
            output.finish()
        self._drain(None if self._complete else _LAST_WORDS)
        if not self._complete:
            raise self._ended(process)
        assert self._control.code is not None
        return self._control.code

    def _pass_on(self, timeout: float | None, boot_timeout: float) -> None:
        """Read until the output is complete, all ports are closed, or the time is up."""
        start = time.monotonic()
        ready: float | None = None
        heard = start
        while self._open and not self._complete:
            if self._control.code is not None:
                # The deadline is the machine's: a stalled reader of the output does not count.
                deadline = _NEVER if self._paused else heard + _DRAIN_TIMEOUT
            elif ready is not None:
                deadline = ready + timeout if timeout else _NEVER
            else:
                deadline = start + boot_timeout
            wait = None if deadline == _NEVER else max(deadline - time.monotonic(), 0)
            events = self._selector.select(wait)
            # Checked even when there is data: a command may write without end.
            if time.monotonic() >= deadline:
                raise self._overrun(timeout, boot_timeout)
            ended = self._control.code is not None
            for key, _ in events:
                if isinstance(key.data, PatientWriter):
                    self._resume(key.data)
                    heard = time.monotonic()
                else:
                    self._read(key)
            if self._control.ready and ready is None:
                ready = time.monotonic()
            if self._control.code is not None and not ended:
                heard = time.monotonic()

    def _drain(self, seconds: float | None) -> None:
        for writer in self._writers.values():
            writer.drain(seconds)

    def _resume(self, writer: PatientWriter) -> None:
        """Resume reading the ports that were paused for a full writer."""
        writer.wake.recv(_PIECE)
        writer.check()
        for port in [port for port in self._paused if self._writers[port] is writer]:
            self._paused.discard(port)
            self._selector.register(port, selectors.EVENT_READ, self._sinks[port])

    @property
    def _complete(self) -> bool:
        return self._control.code is not None and all(output.ended for output in self._outputs)

    def _read(self, key: selectors.SelectorKey) -> None:
        port = key.fileobj
        assert isinstance(port, socket.socket)
        try:
            data = port.recv(_PIECE)
        except ConnectionResetError:
            data = b""
        if data:
            key.data(data)
            writer = self._writers.get(port)
            if writer and writer.full:
                self._selector.unregister(port)
                self._paused.add(port)
        else:
            self._selector.unregister(port)
            self._open.discard(port)
            if port is self._qmp:
                self._monitor.give_up("QEMU has closed its monitor")

    def _overrun(self, timeout: float | None, boot_timeout: float) -> KwalkError:
        if not self._control.ready:
            return BootError(
                f"the virtual machine did not start the command within {boot_timeout:g} s"
                + self._tail(),
                "Try another kernel, or `--verbose` to see where it stops.",
            )
        if self._control.code is None:
            return KwalkError(
                f"the command ran longer than its {timeout:g} s and was ended with its machine"
                + self._tail(),
                "Give it more time with `--timeout`.",
            )
        return KwalkError(
            f"the command ended with exit code {self._control.code}, but its machine did not hand "
            "over all of its output" + self._tail()
        )

    def _ended(self, process: subprocess.Popen[bytes]) -> KwalkError:
        try:
            code = process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        when = "while the command ran" if self._control.ready else "before the command started"
        reasons = [line for line in self._console.lines() if "Kernel panic" in line]
        if code:
            assert process.stderr is not None
            message = process.stderr.read().decode("utf-8", "replace").strip()
            return BootError(f"QEMU ended with exit code {code}: {message}")
        if reasons:
            reason = reasons[0].partition("not syncing: ")[2] or reasons[0]
            what = f"the guest's kernel panicked {when}: {reason}"
        else:
            what = f"the virtual machine went off {when}"
        kind = KwalkError if self._control.ready else BootError
        return kind(what + self._tail(), "`--verbose` shows all of the console.")

    def _tail(self) -> str:
        lines = self._console.lines()[-_TAIL_LINES:]
        return "\n  its console's last lines:\n  | " + "\n  | ".join(lines) if lines else ""
