# SPDX-License-Identifier: MIT
"""Programs of a few bytes, which do hardly anything but system calls.

In an emulated machine a shell takes tens of milliseconds for a command, these take one.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from machine import HERE

_BASE = 0x400000
_PAGE = 4096
_EXECUTABLE, _LOAD, _READ_AND_EXECUTE = 2, 1, 5  # ET_EXEC, PT_LOAD, PF_R | PF_X


@dataclass(frozen=True)
class Class:
    """Layout of an executable.

    :ivar number: ``EI_CLASS``.
    :ivar machine: ``e_machine``.
    :ivar flags: ``e_flags``.
    :ivar header: Format of the ELF header behind ``e_ident``.
    :ivar segment: Format of a program header.
    """

    number: int
    machine: int
    flags: int
    header: str
    segment: str


WIDE = Class(2, HERE.elf, 0, "<HHIQQQIHHHHHH", "<IIQQQQQQ")
ARM = Class(1, 40, 0x05000000, "<HHIIIIIHHHHHH", "<IIIIIIII")  # EM_ARM, EF_ARM_EABI_VER5


def elf(code: bytes, kind: Class = WIDE) -> bytes:
    """Return an executable of one segment: an ELF header, a program header, the code."""
    header_bytes, segment_bytes = 16 + struct.calcsize(kind.header), struct.calcsize(kind.segment)
    at = header_bytes + segment_bytes
    size = at + len(code)
    header = struct.pack(
        kind.header,
        _EXECUTABLE,
        kind.machine,
        1,
        _BASE + at,
        header_bytes,
        0,
        kind.flags,
        header_bytes,
        segment_bytes,
        1,
        0,
        0,
        0,
    )
    if kind == WIDE:
        segment = (_LOAD, _READ_AND_EXECUTE, 0, _BASE, _BASE, size, size, _PAGE)
    else:
        segment = (_LOAD, 0, _BASE, _BASE, size, size, _READ_AND_EXECUTE, _PAGE)
    ident = b"\x7fELF" + bytes([kind.number, 1, 1])
    return ident.ljust(16, b"\0") + header + struct.pack(kind.segment, *segment) + code


@contextlib.contextmanager
def program(code: str, kind: Class = WIDE) -> Iterator[str]:
    """Make a program of machine code, in hexadecimal; yield its path."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "program")
        with open(path, "wb") as file:
            file.write(elf(bytes.fromhex(code), kind))
        os.chmod(path, 0o700)
        yield path
