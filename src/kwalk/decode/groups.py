# SPDX-License-Identifier: MIT
"""What the events of a stack are told apart by: numbers and names to groups."""

from __future__ import annotations

import time

from kwalk.abi import Per
from kwalk.decode.records import process_name
from kwalk.kernel import cgroups
from kwalk.model.stack import Group

# Of a CPU, what looking for names may take: there can be thousands of cgroups.
MOST_CPU = 0.02


class Groups:
    """Makes groups.

    :ivar per: What they are made by.
    """

    def __init__(self, per: Per) -> None:
        self.per = per
        self._paths: dict[int, str] = {}
        self._scanned = False
        self._due = 0.0

    def look(self) -> None:
        """Learn the names of cgroups, which may have gone when something is to be shown."""
        if self.per == Per.CGROUP and time.monotonic() >= self._due:
            self._scan()

    def begin(self) -> None:
        """Groups are asked for now: of those made since, names are looked for, once."""
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
        """Return the group of a process or CPU of this number, or of a name or cgroup.

        :param value: 16 bytes: the name of a task, or the number of a cgroup; the last one is not 0
            where the task has no number in kwalk's PID namespace.
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
    """Whether a group's value is the name of tasks without a number (``KW_NUMBERLESS_NAME``)."""
    return bool(value[-1])
