# SPDX-License-Identifier: MIT
"""Writer of cpio archives for the initramfs.

Format: "newc" of Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

FOLDER = stat.S_IFDIR | 0o755
SCRIPT = stat.S_IFREG | 0o755
FILE = stat.S_IFREG | 0o644


@dataclass(frozen=True)
class Entry:
    """File or folder in an archive.

    :ivar name: Path without a leading slash.
    :ivar mode: File type and permissions, as in ``st_mode``.
    :ivar data: Contents of a file.
    """

    name: str
    mode: int
    data: bytes = b""


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _member(number: int, entry: Entry) -> bytes:
    name = os.fsencode(entry.name) + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    numbers = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % value for value in numbers)
    return _padded(header + name, 4) + _padded(entry.data, 4)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return an archive of ``entries`` in the given order; folders must precede their files.

    Archives may be concatenated: the kernel unpacks them all.
    """
    members = [_member(number, entry) for number, entry in enumerate(entries, start=1)]
    return _padded(b"".join([*members, _member(0, Entry("TRAILER!!!", 0))]), 512)
