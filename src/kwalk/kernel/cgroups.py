# SPDX-License-Identifier: MIT
"""The cgroup v2 hierarchy: its mount point, and the paths of cgroups."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")
CGROUP = Path("/proc/self/cgroup")
_MOUNT = re.compile(r"^(\S+) (\S+) \S+ (\S+) (\S+) .* - (\S+) ", re.MULTILINE)


class Hierarchy(NamedTuple):
    """Mount point of the cgroup v2 hierarchy.

    :ivar level: Depth of its top below the root of this process's cgroup namespace; negative if it
        lies above that.
    """

    top: Path
    level: int


def depth(path: str) -> int:
    """Return the depth of a path; in a namespace, ``..`` leads up from its root."""
    parts = [part for part in path.split("/") if part]
    return len(parts) - 2 * parts.count("..")


def own() -> str:
    """Return the path of this process's cgroup, from the root of its cgroup namespace."""
    found = re.search(r"^0::(.*)$", CGROUP.read_text(errors="surrogateescape"), re.MULTILINE)
    return found[1] if found else "/"


def hierarchy(mountinfo: Path | None = None) -> Hierarchy | None:
    """Return the visible mount of cgroup v2, or None.

    A mount over another one is its child, at the same mount point (proc_pid_mountinfo(5)).
    """
    mounts = _MOUNT.findall((mountinfo or MOUNTINFO).read_text(errors="surrogateescape"))
    covered = {(parent, folder) for _, parent, _, folder, _ in mounts}
    for number, _, root, folder, kind in mounts:
        if kind == "cgroup2" and (number, folder) not in covered:
            return Hierarchy(Path(folder), depth(root))
    return None


def paths() -> dict[int, str]:
    """Return the path of each cgroup below the mount, by its id (its folder's inode).

    Cgroups that are removed meanwhile are left out.
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
            known[entry.inode()] = path  # from readdir, without a stat of each
            waiting.append(path)
    return known
