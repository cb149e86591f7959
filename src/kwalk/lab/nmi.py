# SPDX-License-Identifier: MIT
"""NMIs for programs in the lab: requests to the host to inject one into this machine."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kwalk.errors import KwalkError, NotSupported
from kwalk.lab.platforms import native

_PORTS = Path("/sys/class/virtio-ports")
_DEVICES = Path("/dev")
_NAME = "monitor"

# With --icount the guest's clock skips idle time: 10 s of it can be shorter than the host needs to
# answer. So the time-out is a number of tries, each of which executes instructions.
_TRIES = 5000
_PAUSE = 0.002

_Result = TypeVar("_Result")


def inject(count: int = 1, interval: float = 0.0) -> None:
    """Have the host inject NMIs into this virtual machine, one after the other.

    Returns when QEMU has injected the last one. Linux delivers them to CPU 0 only, unless booted
    with ``apic_extnmi=all``; if the caller runs on another CPU, CPU 0 may handle it a moment later.

    :param count: Number of NMIs.
    :param interval: Seconds of the guest's clock between two.
    :raises NotSupported: if this is not inside the lab, or on an architecture without NMIs.
    :raises KwalkError: if the port cannot be used, or the host did not inject one.
    """
    device = _device()
    if not native().has_nmi:
        raise NotSupported(
            f"this is an {native().debian} virtual machine: QEMU cannot inject an NMI there, and "
            "Debian's kernels are built without one",
            "Boot a kernel for x86-64: `kwalk lab kernels` lists some.",
        )
    for number in range(count):
        if number and interval:
            time.sleep(interval)
        try:
            _inject_one(device)
        except OSError as error:
            raise KwalkError(
                f"no NMI can be requested through {device}: {error.strerror}",
                "Only root can use the port, and only one program at a time.",
            ) from error


def _device() -> Path:
    """Return the port's device, found by its name in sysfs since the guest has no udev."""
    for entry in sorted(_PORTS.glob("*/name")):
        try:
            name = entry.read_text(encoding="utf-8").strip()
        except OSError:
            continue  # a port that has no name yet
        if name == _NAME:
            return _DEVICES / entry.parent.name
    raise NotSupported(
        f"this is not inside the lab: there is no virtio-serial port named {_NAME!r}",
        "Run it there: `kwalk lab run -- COMMAND...`.",
    )


def _inject_one(device: Path) -> None:
    """Request one NMI and wait for the answer; then close the port for other programs."""
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
                answered, _, answer = line.decode("ascii", "replace").partition(" ")
                if answered != tag:
                    continue  # an answer that another program did not read
                if answer != "ok":
                    why = answer.removeprefix("failed ")
                    raise KwalkError(f"the host did not inject the NMI: {why}")
                return
    finally:
        os.close(fd)


def _patiently(action: Callable[[], _Result], otherwise: str) -> _Result:
    """Repeat ``action`` while it fails with EAGAIN or EBUSY; return its result.

    :param otherwise: Message of the TimeoutError.
    :raises TimeoutError: after ``_TRIES`` tries.
    """
    for _ in range(_TRIES):
        try:
            return action()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EBUSY):
                raise
        time.sleep(_PAUSE)
    raise TimeoutError(errno.ETIMEDOUT, otherwise)
