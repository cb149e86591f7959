# SPDX-License-Identifier: MIT
"""Namespaces of this process, as far as ``/proc`` tells them."""

from __future__ import annotations

import os
import re
from pathlib import Path

# include/linux/proc_ns.h: PROC_PID_INIT_INO, PROC_CGROUP_INIT_INO
FIRST = {"pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
SELF = Path("/proc/self")
OTHER_PROC = "Mount this namespace's own (unshare --mount-proc, or mount -t proc proc /proc)."


def is_nested(kind: str) -> bool:
    """Whether this process is not, or may not be, in the namespace that the kernel began with.

    :param kind: ``pid`` or ``cgroup``.
    """
    try:
        return os.stat(SELF / "ns" / kind).st_ino != FIRST[kind]
    except OSError:
        # There may be no such namespaces; else /proc does not know this process.
        return not SELF.exists()


def same_proc() -> bool:
    """Whether the numbers of tasks in ``/proc`` are those of this process's PID namespace."""
    try:
        status = (SELF / "status").read_text(errors="replace")
    except OSError:
        return False  # this process is not in its namespace
    # From the namespace of /proc down to that of the process.
    found = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
    return found is None or len(found[1].split()) == 1
