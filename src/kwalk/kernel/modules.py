# SPDX-License-Identifier: MIT
"""Loaded modules: where each lies, and which load of it this is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Module(NamedTuple):
    """One load of a module.

    :ivar size: In bytes, from ``start``; data that lies elsewhere is counted in it, too.
    :ivar number: Of its folder in sysfs (inode); 0 if unknown. No other load gets it
        until the next boot, wherever it lies (kernfs gives out numbers in a circle of 2^32).
    """

    name: str
    start: int
    size: int
    state: str
    number: int

    def holds(self, address: int) -> bool:
        """Whether an address can be code of this module."""
        return self.start <= address < self.start + self.size


def read(proc: Path = PROC) -> tuple[Module, ...]:
    """Return the modules that are loaded now, in order of their names.

    :param proc: Where procfs is; sysfs is beside it.
    :raises OSError: if the kernel does not tell.
    """
    text = (proc / "modules").read_text(encoding="ascii", errors="replace")
    folder = proc.with_name("sys") / "module"
    found = []
    for line in text.splitlines():
        # name size uses users state address
        name, size, _, _, state, address = line.split()[:6]
        number = 0
        with suppress(OSError):  # it is not whole yet, or sysfs is not mounted
            number = os.stat(folder / name).st_ino
        found.append(Module(name, int(address, 16), int(size), state, number))
    return tuple(sorted(found))
