# SPDX-License-Identifier: MIT
"""For programs in the lab: have the host inject NMIs into the machine that they run in."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kwalk.errors import KwalkError, NotSupported

_PORTS = Path("/sys/class/virtio-ports")
_DEVICES = Path("/dev")
_NAME = "monitor"

# With --icount the guest's clock jumps over the time in which all sleep: 10 s of it can be less
# than the host needs for an answer. So a time-out is a number of tries, each of which is work.
_TRIES = 5000
_PAUSE = 0.002

_Result = TypeVar("_Result")


def inject(count: int = 1, interval: float = 0.0) -> None:
    """Have NMIs injected into this virtual machine, one after the other.

    Returns when QEMU has injected the last one. Linux lets CPU 0 only have them, unless it was
    booted with ``apic_extnmi=all``; where this runs on another CPU, CPU 0 may handle it a moment
    later.

    :param count: How many.
    :param interval: Seconds of the guest's clock between two.
    :raises NotSupported: This is not inside the lab.
    :raises KwalkError: The port cannot be used, or the host has not injected one.
    """
    device = _device()
    for number in range(count):
        if number and interval:
            time.sleep(interval)
        try:
            _inject_one(device)
        except OSError as error:
            raise KwalkError(
                f"the host cannot be asked for an NMI through {device}: {error.strerror}",
                "The port is root's, and of one program at a time.",
            ) from error


def _device() -> Path:
    """Return the device of the port; without udev only sysfs tells which it is."""
    for entry in sorted(_PORTS.glob("*/name")):
        try:
            name = entry.read_text(encoding="utf-8").strip()
        except OSError:
            continue  # a port whose name has not arrived
        if name == _NAME:
            return _DEVICES / entry.parent.name
    raise NotSupported(
        f"this is not inside the lab: there is no virtio-serial port named {_NAME!r}",
        "Run it there: `kwalk lab run -- COMMAND...`.",
    )


def _inject_one(device: Path) -> None:
    """Ask for one NMI and wait for the answer. The port is closed again for others to use."""
    tag = secrets.token_hex(8)
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    fd = _patiently(lambda: os.open(device, flags), "another program keeps it open")
    try:
        _patiently(lambda: os.write(fd, f"nmi {tag}\n".encode()), "the host does not read")
        text = b""
        while True:
            data = _patiently(lambda: os.read(fd, 4096), "the host does not answer")
            if not data:
                raise OSError(errno.EPIPE, "the host has closed it")
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                whose, _, answer = line.decode("ascii", "replace").partition(" ")
                if whose != tag:
                    continue  # of a program that did not wait for it
                if answer != "ok":
                    why = answer.removeprefix("failed ")
                    raise KwalkError(f"the host did not inject the NMI: {why}")
                return
    finally:
        os.close(fd)


def _patiently(action: Callable[[], _Result], otherwise: str) -> _Result:
    """Return what ``action`` returns once it does not have to wait any more.

    :raises TimeoutError: It still has to; ``otherwise`` says why.
    """
    for _ in range(_TRIES):
        try:
            return action()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EBUSY):
                raise
        time.sleep(_PAUSE)
    raise TimeoutError(errno.ETIMEDOUT, otherwise)
