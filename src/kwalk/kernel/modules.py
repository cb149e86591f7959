# SPDX-License-Identifier: MIT
"""Loaded modules: address, and identity of the load."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Module(NamedTuple):
    """One load of a module.

    :ivar size: Bytes from ``start``, including data that lies elsewhere.
    :ivar number: Inode of its folder in sysfs; 0 if unknown. Unique to this load until the next
        boot (kernfs reuses numbers after 2^32).
    """

    name: str
    start: int
    size: int
    state: str
    number: int

    def holds(self, address: int) -> bool:
        """Whether an address may be code of this module."""
        return self.start <= address < self.start + self.size


def read(proc: Path = PROC) -> tuple[Module, ...]:
    """Return the loaded modules, sorted by name.

    :param proc: Mount point of procfs; sysfs is beside it.
    :raises OSError: if /proc/modules cannot be read.
    """
    text = (proc / "modules").read_text(encoding="ascii", errors="replace")
    folder = proc.with_name("sys") / "module"
    found = []
    for line in text.splitlines():
        # name size uses users state address
        name, size, _, _, state, address = line.split()[:6]
        number = 0
        with suppress(OSError):  # the module is still loading, or sysfs is not mounted
            number = os.stat(folder / name).st_ino
        found.append(Module(name, int(address, 16), int(size), state, number))
    return tuple(sorted(found))
