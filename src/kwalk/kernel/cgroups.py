# SPDX-License-Identifier: MIT
"""The hierarchy of cgroups, version 2: where it is, and how its parts are called."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")
CGROUP = Path("/proc/self/cgroup")
_MOUNT = re.compile(r"^(\S+) (\S+) \S+ (\S+) (\S+) .* - (\S+) ", re.MULTILINE)


class Hierarchy(NamedTuple):
    """Where it is mounted.

    :ivar level: Cgroups above that, which are not seen from here, counted from the root of this
        process's cgroup namespace; negative where it lies above that.
    """

    top: Path
    level: int


def depth(path: str) -> int:
    """Return how many cgroups a path leads down; in a namespace ``..`` leads up from its root."""
    parts = [part for part in path.split("/") if part]
    return len(parts) - 2 * parts.count("..")


def own() -> str:
    """Return the path of this process's cgroup, from the root of its cgroup namespace."""
    found = re.search(r"^0::(.*)$", CGROUP.read_text(errors="surrogateescape"), re.MULTILINE)
    return found[1] if found else "/"


def hierarchy(mountinfo: Path | None = None) -> Hierarchy | None:
    """Return where cgroups of version 2 are mounted, and can be seen, or None.

    What is mounted over another mount is its child, at the same place (proc_pid_mountinfo(5)).
    """
    mounts = _MOUNT.findall((mountinfo or MOUNTINFO).read_text(errors="surrogateescape"))
    covered = {(parent, folder) for _, parent, _, folder, _ in mounts}
    for number, _, root, folder, kind in mounts:
        if kind == "cgroup2" and (number, folder) not in covered:
            return Hierarchy(Path(folder), depth(root))
    return None


def paths() -> dict[int, str]:
    """Return the path of each cgroup from there, by its number: its folder's inode.

    Cgroups come and go meanwhile: those that have gone are left out.
    """
    found = hierarchy()
    if not found:
        return {}
    known: dict[int, str] = {}
    try:
        known[os.stat(found.top).st_ino] = "/"
    except OSError:
        return {}
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(f"{found.top}{above}") as entries:
                folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for entry in folders:
            path = f"{above}/{entry.name}"
            known[entry.inode()] = path  # as readdir gives it: no stat of each
            waiting.append(path)
    return known
