# SPDX-License-Identifier: MIT
"""Translation of filters from the user's PID and cgroup namespaces to the kernel's initial ones."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.abi import (
    GATES_SECTION,
    HERE,
    PLACES_SECTION,
    PROCESSES_SECTION,
    TASK,
    THREADS_SECTION,
    Output,
    Per,
)
from kwalk.errors import UsageError
from kwalk.kernel import cgroups
from kwalk.kernel.namespaces import OTHER_PROC, is_nested, same_proc
from kwalk.libbpf.object import Object
from kwalk.options.filters import Filters
from kwalk.options.probe import PidNamespace, ProbeOptions

PROGRAM = "kw_here"
TASKS_PROGRAM = "kw_tasks"


class Here(NamedTuple):
    """Namespaces of this process, as ``kw_here`` and ``kw_tasks`` read them in the kernel.

    :ivar pidns: PID namespace of this process.
    :ivar cgroup_level: Depth of this process's cgroup below the kernel's root cgroup.
    :ivar threads: TID in the PID namespace -> the kernel's own.
    :ivar processes: PID in the PID namespace -> the kernel's own.
    """

    pidns: PidNamespace
    cgroup_level: int
    threads: dict[int, int]
    processes: dict[int, int]


def translate(options: ProbeOptions) -> ProbeOptions:
    """Return the options with PIDs, TIDs and cgroup levels of the kernel's initial namespaces.

    :raises UsageError: if a task of a filter does not exist, or PIDs would be shown while
        ``/proc`` belongs to another PID namespace.
    """
    in_pidns = is_nested("pid")
    in_cgroupns = bool(options.filters.cgroups) and is_nested("cgroup")
    if not in_pidns and not in_cgroupns:
        return options
    shows = options.output == Output.EVENT or options.per == Per.PID
    if in_pidns and shows and not same_proc():
        raise UsageError(
            "/proc belongs to another PID namespace than kwalk: PIDs would differ from the output "
            "of ps",
            OTHER_PROC,
        )
    filters = options.filters
    here = _ask(tasks=in_pidns and bool(filters.pids or filters.tids))
    if in_pidns:
        filters = filters._replace(
            pids=tuple(_number("process", pid, here.processes) for pid in filters.pids),
            tids=tuple(_number("thread", tid, here.threads) for tid in filters.tids),
        )
        options = options._replace(pidns=here.pidns)
    if in_cgroupns:
        filters = _levels(filters, here.cgroup_level - cgroups.depth(cgroups.own()))
    return options._replace(filters=filters)


def _number(kind: str, number: int, known: dict[int, int]) -> int:
    if number not in known:
        raise UsageError(f"there is no {kind} {number} in this PID namespace", "`ps` lists them.")
    return known[number]


def _levels(filters: Filters, above: int) -> Filters:
    """Return the filters with cgroup levels counted from the kernel's root cgroup.

    :param above: Depth of the cgroup namespace's root.
    """
    found = (cgroup._replace(level=cgroup.level + above) for cgroup in filters.cgroups)
    return filters._replace(cgroups=tuple(found))


def _ask(tasks: bool) -> Here:
    """Load ``kw_here`` and run it; with ``tasks``, iterate over all tasks by ``kw_tasks``."""
    from kwalk.probe.load import image

    threads, processes = {}, {}
    with Object(image()) as obj:
        obj.set_autoload(dict.fromkeys((PROGRAM, *([TASKS_PROGRAM] if tasks else []))))
        for name in (GATES_SECTION, PROCESSES_SECTION, THREADS_SECTION, PLACES_SECTION):
            obj.map(name).set_autocreate(False)
        obj.load()
        found = HERE.unpack(obj.run(PROGRAM, HERE.pack({}))[1])
        for number, pid, tgid, _ in TASK.struct.iter_unpack(
            obj.iterate(TASKS_PROGRAM) if tasks else b""
        ):
            threads[number] = pid
            if pid == tgid:
                processes[number] = tgid
    pidns = PidNamespace(found["pidns"], found["pidns_level"])
    return Here(pidns, found["cgroup_level"], threads, processes)
