# SPDX-License-Identifier: MIT
"""Numbers and names from BPF to groups (``--per``)."""

from __future__ import annotations

import time

from kwalk.abi import Per
from kwalk.decode.records import process_name
from kwalk.kernel import cgroups
from kwalk.model.stack import Group

# Share of a CPU that reading names may take: there can be thousands of cgroups.
MOST_CPU = 0.02


class Groups:
    """Makes groups, and remembers paths of cgroups.

    :ivar per: Kind of the groups.
    """

    def __init__(self, per: Per) -> None:
        self.per = per
        self._paths: dict[int, str] = {}
        self._scanned = False
        self._due = 0.0

    def look(self) -> None:
        """Read the paths of cgroups now, since a cgroup may be gone before counts are read."""
        if self.per == Per.CGROUP and time.monotonic() >= self._due:
            self._scan()

    def begin(self) -> None:
        """Begin a look at the counts: unknown cgroups make it read the paths once."""
        self._scanned = False

    def _scan(self) -> None:
        began = time.monotonic()
        # A name that has been shown stays: a group is one in all that is shown of a capture.
        self._paths = cgroups.paths() | self._paths
        self._due = time.monotonic() + (time.monotonic() - began) / MOST_CPU
        self._scanned = True

    def _path(self, number: int) -> str:
        if number not in self._paths and not self._scanned:
            self._scan()
        return self._paths.setdefault(number, f"cgroup {number}")

    def group(self, number: int, value: bytes) -> Group | None:
        """Return the group; None without ``--per``.

        :param number: Number of the process or CPU.
        :param value: 16 bytes: ``comm``, or the cgroup id; the last byte is not 0 if the task has
            no number in kwalk's PID namespace.
        """
        if self.per == Per.NOTHING:
            return None
        kind = self.per.name.lower()
        if self.per == Per.CPU:
            return Group(kind, number, "")
        if self.per == Per.CGROUP:
            number = int.from_bytes(value[:8], "little")
            return Group(kind, number, self._path(number))
        if self.per == Per.PID and is_numberless(value):
            return Group(kind, None, process_name(value[:-1]))
        return Group(kind, number if self.per == Per.PID else 0, process_name(value))


def is_numberless(value: bytes) -> bool:
    """Whether the value is the ``comm`` of a task without a number (``KW_NUMBERLESS_NAME``)."""
    return bool(value[-1])
