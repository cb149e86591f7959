# SPDX-License-Identifier: MIT
"""What the events of a stack are told apart by: numbers and names to groups."""

from __future__ import annotations

from functools import cached_property

from kwalk.decode.names import process_name
from kwalk.kernel import cgroups
from kwalk.stack import Group
from kwalk.transport.abi import Per


class Groups:
    """Makes groups.

    :ivar per: What they are made by.
    """

    def __init__(self, per: Per) -> None:
        self.per = per

    @cached_property
    def _paths(self) -> dict[int, str]:
        return cgroups.paths()

    def group(self, number: int, value: bytes) -> Group | None:
        """Return the group of a process or CPU of this number, or of a name or cgroup.

        :param value: 16 bytes: the name of a task, or the number of a cgroup.
        """
        if self.per == Per.NOTHING:
            return None
        kind = self.per.name.lower()
        if self.per == Per.CPU:
            return Group(kind, number, "")
        if self.per == Per.CGROUP:
            number = int.from_bytes(value[:8], "little")
            return Group(kind, number, self._paths.get(number, f"cgroup {number}"))
        return Group(kind, number if self.per == Per.PID else 0, process_name(value))
