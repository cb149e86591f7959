# SPDX-License-Identifier: MIT
"""Whose calls are wanted; the program looks at nothing else (``bpf/trace/filter.bpf.h``)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import PLACES, Filtered

_COMM_BYTES = 16


class Cgroup(NamedTuple):
    """A cgroup of version 2.

    :ivar number: What ``bpf_get_current_cgroup_id()`` answers in there.
    :ivar level: Cgroups above it.
    :ivar path: Its folder; "" where only the number is known.
    """

    number: int
    level: int
    path: str = ""


class Filters(NamedTuple):
    """All that are given must hold; of several values of one kind, any.

    :param pids: Processes, by the number of their first thread (the kernel's tgid).
    :param tids: Threads (the kernel's pid).
    :param comms: Names of tasks, at most 15 bytes each.
    :param cpus: Numbers of CPUs.
    :param netns: Network namespaces, by inode number.
    :param cgroups: Those, and what is below them.
    :param follow: Also what the processes start from now on.
    :param netns_paths: Where each of ``netns`` comes from; "" where only the number is known.
    """

    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    comms: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    netns: tuple[int, ...] = ()
    cgroups: tuple[Cgroup, ...] = ()
    follow: bool = False
    netns_paths: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kinds)

    @property
    def kinds(self) -> Filtered:
        """What has to be looked at."""
        asked = {
            Filtered.CPU: self.cpus,
            Filtered.PROCESS: self.pids,
            Filtered.THREAD: self.tids,
            Filtered.COMM: self.comms,
            Filtered.NETNS: self.netns,
            Filtered.CGROUP: self.cgroups,
        }
        return Filtered(sum(kind for kind, values in asked.items() if values))

    def config(self) -> dict[str, int | bytes]:
        """Return the members of ``struct kw_config`` about filters."""
        comms = b"".join(os.fsencode(comm).ljust(_COMM_BYTES, b"\0") for comm in self.comms)
        return {
            "filter": int(self.kinds),
            "comms": len(self.comms),
            "comm": comms,
            "netnses": len(self.netns),
            "cgroups": len(self.cgroups),
            "cgroup_level": _words("I", [cgroup.level for cgroup in self.cgroups]),
        }


def places(netns: Sequence[int], numbers: Sequence[int]) -> bytes:
    """Return ``struct kw_places``.

    :param numbers: Of the cgroups.
    """
    return PLACES.pack({"cgroup": _words("Q", numbers), "netns": _words("I", netns)})


def _words(code: str, values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}{code}", *values)
