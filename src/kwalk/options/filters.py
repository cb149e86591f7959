# SPDX-License-Identifier: MIT
"""Filters by number, as the BPF program evaluates them (``bpf/trace/filter.bpf.h``)."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import PLACES, Filtered

_COMM_BYTES = 16


class Cgroup(NamedTuple):
    """A cgroup of version 2.

    :ivar number: Id, as ``bpf_get_current_cgroup_id()`` returns it.
    :ivar level: Number of ancestors.
    :ivar path: Directory; "" if only the id is known.
    """

    number: int
    level: int
    path: str = ""


class Filters(NamedTuple):
    """Filters of hits: each kind that is given must match one of its values.

    :param pids: Processes (``task->tgid``).
    :param tids: Threads (``task->pid``).
    :param comms: Task names (``task->comm``), at most 15 bytes each.
    :param cpus: CPU numbers.
    :param netns: Network namespaces, by inode number.
    :param cgroups: Cgroups and their descendants.
    :param follow: Child processes started from now on are traced, too.
    :param netns_paths: Path of each of ``netns``; "" if only the number is known.
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
        """Filter kinds that are in use (bitmask)."""
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
        """Return the filter members of ``struct kw_config``."""
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
    """Pack ``struct kw_places``.

    :param numbers: Cgroup ids.
    """
    return PLACES.pack({"cgroup": _words("Q", numbers), "netns": _words("I", netns)})


def _words(code: str, values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}{code}", *values)
