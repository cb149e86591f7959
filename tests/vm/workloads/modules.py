# SPDX-License-Identifier: MIT
"""Functions of modules in stacks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from workloads.running import repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, in_module, often, path

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@contextlib.contextmanager
def dummy_device() -> Iterator[Burst]:
    """Send packets by a network device whose driver, a module, drops them."""
    subprocess.run(["modprobe", "dummy", "numdummies=1"], check=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        request = struct.pack("16sH14x", b"dummy0", 0)
        name, flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", name, flags | _IFF_UP))
        sock.bind(("dummy0", 0x88B5))  # a protocol number for experiments
        frame = b"\xff" * 12 + b"\x88\xb5" + b"x" * 60
        yield repeat(lambda: sock.send(frame))


@contextlib.contextmanager
def overlay_reads() -> Iterator[Burst]:
    """Open and read files of the root file system, an overlay over 9p."""
    paths = sorted(Path("/usr/include/linux").glob("*.h"))[:60]

    def read() -> None:
        for file in paths:
            fd = os.open(file, os.O_RDONLY)
            os.read(fd, 100)
            os.close(fd)

    yield repeat(read)


def _overlay() -> str:
    if Path("/sys/module/overlay/sections").exists():
        return ""
    return "this kernel has the overlay file system built in, so none of its frames is a module's"


ALL = (
    Surroundings(
        "module-function",
        ("dummy_xmit",),
        dummy_device,
        often(path("dummy_xmit", "dev_hard_start_xmit", root=SYSCALL), in_module("dummy")),
        brings_code=True,
    ),
    Surroundings(
        "vmlinux-under-module",
        ("consume_skb",),
        dummy_device,
        often(path("consume_skb", "dummy_xmit", "dev_hard_start_xmit", root=SYSCALL)),
        brings_code=True,
    ),
    Surroundings(
        "vmlinux-under-overlay",
        ("kfree",),
        overlay_reads,
        often(in_module("overlay")),
        _overlay,
    ),
)
