# SPDX-License-Identifier: MIT
"""Namespaces of this process, by ``/proc``."""

from __future__ import annotations

import os
import re
from pathlib import Path

# include/linux/proc_ns.h: PROC_PID_INIT_INO, PROC_CGROUP_INIT_INO
FIRST = {"pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
SELF = Path("/proc/self")
OTHER_PROC = "Mount this namespace's own (unshare --mount-proc, or mount -t proc proc /proc)."


def is_nested(kind: str) -> bool:
    """Whether this process is not, or may not be, in the initial namespace.

    :param kind: ``pid`` or ``cgroup``.
    """
    try:
        return os.stat(SELF / "ns" / kind).st_ino != FIRST[kind]
    except OSError:
        # The kernel may lack such namespaces; otherwise /proc does not show this process.
        return not SELF.exists()


def same_proc() -> bool:
    """Whether ``/proc`` has the PIDs of this process's PID namespace."""
    try:
        status = (SELF / "status").read_text(errors="replace")
    except OSError:
        return False  # this process is not in its namespace
    # PIDs in each namespace, from /proc's down to the process's own.
    found = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
    return found is None or len(found[1].split()) == 1
