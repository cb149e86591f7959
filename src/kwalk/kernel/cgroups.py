# SPDX-License-Identifier: MIT
"""The hierarchy of cgroups, version 2: where it is, and how its parts are called."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")


class Hierarchy(NamedTuple):
    """Where it is mounted.

    :ivar level: Cgroups above that, which are not seen from here.
    """

    top: Path
    level: int


def hierarchy(mountinfo: Path | None = None) -> Hierarchy | None:
    """Return where cgroups of version 2 are mounted, or None."""
    text = (mountinfo or MOUNTINFO).read_text(errors="surrogateescape")
    mounted = re.search(r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 ", text, re.MULTILINE)
    if not mounted:
        return None
    return Hierarchy(Path(mounted[2]), len([part for part in mounted[1].split("/") if part]))


def paths() -> dict[int, str]:
    """Return the path of each cgroup from there, by its number: its folder's inode."""
    found = hierarchy()
    if not found:
        return {}
    return {
        os.stat(folder).st_ino: f"/{os.path.relpath(folder, found.top)}".removesuffix("/.") or "/"
        for folder, _, _ in os.walk(found.top)
    }
