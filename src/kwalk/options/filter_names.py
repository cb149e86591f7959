# SPDX-License-Identifier: MIT
"""Filters by names, resolved to the numbers that the kernel compares."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kwalk.abi import FILTER_VALUES
from kwalk.errors import UsageError
from kwalk.kernel import cgroups
from kwalk.kernel.namespaces import OTHER_PROC, same_proc
from kwalk.options.filters import Cgroup, Filters

PROC = Path("/proc")
NETNS = Path("/run/netns")
CPUS = Path("/sys/devices/system/cpu/possible")
_COMM_BYTES = 15  # TASK_COMM_LEN in include/linux/sched.h, less the final 0


class Wanted(NamedTuple):
    """``Filters`` with network namespaces and cgroups by name.

    :param netns: Names of ``ip netns``, paths such as ``/proc/1/ns/net``, or inode numbers.
    :param cgroups: Paths, absolute or relative to the root of the hierarchy.
    """

    pids: Sequence[int] = ()
    tids: Sequence[int] = ()
    comms: Sequence[str] = ()
    cpus: Sequence[int] = ()
    netns: Sequence[str] = ()
    cgroups: Sequence[str] = ()
    follow: bool = False

    def filters(self) -> Filters:
        """Resolve the names.

        :raises UsageError: if a process, CPU, namespace or cgroup does not exist.
        """
        self._check_number()
        if (self.pids or self.tids) and not same_proc():
            raise UsageError(
                "/proc belongs to another PID namespace than kwalk: its numbers are not "
                "the ones by which this kwalk could trace tasks",
                OTHER_PROC,
            )
        for pid in self.pids:
            _check_process(pid)
        for tid in self.tids:
            if not (PROC / str(tid)).exists():
                raise UsageError(f"there is no thread {tid}", "`ps -eL` lists them (LWP).")
        last = int(CPUS.read_text().strip().split(",")[-1].split("-")[-1])
        for cpu in self.cpus:
            if not 0 <= cpu <= last:
                raise UsageError(f"there is no CPU {cpu}", f"This machine's are 0-{last}.")
        return Filters(
            pids=tuple(self.pids),
            tids=tuple(self.tids),
            comms=tuple(map(_comm, self.comms)),
            cpus=tuple(self.cpus),
            netns=tuple(map(_netns, self.netns)),
            cgroups=tuple(map(_cgroup, self.cgroups)),
            follow=self.follow,
            netns_paths=tuple(map(_netns_path, self.netns)),
        )

    def _check_number(self) -> None:
        for name in ("comms", "netns", "cgroups"):
            if len(getattr(self, name)) > FILTER_VALUES:
                raise UsageError(
                    f"more than {FILTER_VALUES} {name} were given",
                    "Give fewer, or none, and select stacks afterwards.",
                )


def _comm(name: str) -> str:
    return os.fsencode(name)[:_COMM_BYTES].decode(errors="surrogateescape")


def _check_process(pid: int) -> None:
    try:
        status = (PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        raise UsageError(f"there is no process {pid}", "`ps -e` lists them.") from None
    process = int(re.findall(r"^Tgid:\s*(\d+)", status, re.MULTILINE)[0])
    if process != pid:
        raise UsageError(
            f"{pid} is a thread of process {process}",
            f"Ask for thread {pid}, or for process {process}.",
        )


_LARGEST_NETNS = (1 << 32) - 1  # ns_common.inum is an unsigned int


def _netns(name: str) -> int:
    path = _netns_path(name)
    if not path:
        if len(name) > 10 or int(name) > _LARGEST_NETNS:
            raise UsageError(
                f"{name[:20]} is not the inode number of a network namespace",
                "`ls -Li /proc/PID/ns/net` shows a process's.",
            )
        return int(name)
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise UsageError(
            f"network namespace {name}: {path}: {error.strerror}",
            "`ip netns` lists those with a name; any process's is /proc/PID/ns/net.",
        ) from None


def _netns_path(name: str) -> str:
    """Return the path of a network namespace; "" if its inode number is given."""
    if name.isdecimal():
        return ""
    return os.path.abspath(name) if "/" in name else str(NETNS / name)


def _cgroup(name: str) -> Cgroup:
    mounted = cgroups.hierarchy()
    if not mounted:
        raise UsageError(
            "no cgroup hierarchy of version 2 is mounted",
            "Mount one (mount -t cgroup2 none /sys/fs/cgroup), or use another filter.",
        )
    top, above = mounted
    path = Path(os.path.normpath(top / name))  # an absolute name replaces the root
    if path != top and top not in path.parents:
        raise UsageError(
            f"{name} is not a cgroup of version 2",
            f"Give a folder under {top}, or its path from there.",
        )
    try:
        number = path.stat().st_ino
    except OSError as error:
        raise UsageError(
            f"cgroup {path}: {error.strerror}", "`systemd-cgls` lists all cgroups."
        ) from None
    return Cgroup(number, above + len(path.relative_to(top).parts), str(path))
