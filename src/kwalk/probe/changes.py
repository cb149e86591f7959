# SPDX-License-Identifier: MIT
"""CPUs, tasks, cgroups and network namespaces that come and go while a probe is attached.

They are polled once a second. The probe is made to follow a change, and the gap before that is
reported in the summary.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kwalk.abi import PLACES_SECTION, PROCESSES_SECTION, THREADS_SECTION, Place
from kwalk.kernel.namespaces import same_proc
from kwalk.libbpf import LibbpfError
from kwalk.options.filters import Filters
from kwalk.probe.load import put_places
from kwalk.probe.probe import Probe
from kwalk.transport.counters import online_cpus
from kwalk.transport.filter_maps import drop_tasks

LOOK_SECONDS = 1.0
_TICK_SECONDS = 0.02  # more than one, where there are 100 a second
_PROC = Path("/proc")


class Changes:
    """Polls the CPUs, tasks, cgroups and namespaces that a probe depends on.

    :param probe: The attached probe.
    :param asked: Filters with PIDs and TIDs of the user's PID namespace.
    :param filters: The same filters with the kernel's own PIDs and TIDs.
    """

    def __init__(self, probe: Probe, asked: Filters, filters: Filters) -> None:
        self._began = probe.attached
        self._looked = time.monotonic()
        self._due = self._looked + LOOK_SECONDS
        self._parts: list[_Part] = []
        if probe.selection.place == Place.SAMPLE:
            self._parts.append(_Samples(probe))
        elif filters.cpus:
            self._parts.append(_Cpus(filters.cpus))
        if (filters.pids or filters.tids) and not filters.follow and same_proc():
            self._parts.append(_Tasks(probe, asked, filters))
        if any(cgroup.path for cgroup in filters.cgroups) or any(filters.netns_paths):
            self._parts.append(_Places(probe, filters))

    @property
    def any(self) -> bool:
        """Whether the probe depends on something that can change."""
        return bool(self._parts)

    def at_start(self) -> list[str]:
        """Return warnings for the user right after attaching."""
        return [note for part in self._parts for note in part.at_start()]

    def look(self, last: bool = False) -> bool:
        """Poll, if a second has passed since the last time; return whether it did.

        :param last: Poll in any case, before detaching.
        """
        now = time.monotonic()
        if now < self._due and not last:
            return False
        self._due = now + LOOK_SECONDS
        for part in self._parts:
            part.look(self._looked - self._began, now - self._began)
        self._looked = now
        return True

    def unseen(self) -> list[str]:
        """Return sentences about hits that the probe must have missed (``Ledger.uncounted``)."""
        return [text for part in self._parts for text in part.unseen()]

    def notes(self) -> list[str]:
        """Return sentences about changes that lost no hits (``Summary.notes``)."""
        return [text for part in self._parts for text in part.notes()]


class _Part:
    """One kind of thing to poll; ``before`` and ``now`` are in seconds since attaching."""

    def at_start(self) -> list[str]:
        """See ``Changes``."""
        return []

    def look(self, before: float, now: float) -> None:
        """Poll.

        :param before: Time of the poll before this one.
        """

    def unseen(self) -> list[str]:
        """See ``Changes``."""
        return []

    def notes(self) -> list[str]:
        """See ``Changes``."""
        return []


class _Gaps:
    """Spans of time in which CPUs were offline, in seconds since attaching."""

    def __init__(self) -> None:
        self._gaps: dict[int, list[tuple[float, float | None]]] = {}

    def open(self, cpu: int, since: float) -> None:
        """Begin a span for a CPU that was last seen at ``since``, unless one is open."""
        if not self.is_open(cpu):
            self._gaps.setdefault(cpu, []).append((since, None))

    def close(self, cpu: int, until: float) -> None:
        """End the open span of a CPU."""
        gaps = self._gaps[cpu]
        gaps[-1] = gaps[-1][0], until

    def is_open(self, cpu: int) -> bool:
        """Return whether a CPU is offline now."""
        return cpu in self._gaps and self._gaps[cpu][-1][1] is None

    def texts(self, what: str) -> list[str]:
        """Return a sentence for each CPU.

        :param what: Verb phrase, such as ``was offline``.
        """
        return [
            f"CPU {cpu} {what} {', '.join(_span(*gap) for gap in gaps)}"
            for cpu, gaps in sorted(self._gaps.items())
        ]


def _span(since: float, until: float | None) -> str:
    if until is None:
        return f"from second {since:.1f} on"
    return f"from second {since:.1f} to {until:.1f}"


class _Samples(_Part):
    """Reopens the perf event of a CPU that was offline: the kernel ends it with the CPU."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._frequency = int(probe.selection.targets[0].name)
        self._gaps = _Gaps()

    def look(self, before: float, now: float) -> None:
        """Attach to CPUs that came back or were added."""
        sampled, dead = self._dead()
        online = set(online_cpus())
        for cpu in sorted(dead | (online - sampled)):
            self._gaps.open(cpu, before)
            if cpu in online and self._attach(cpu):
                self._gaps.close(cpu, now)

    def _dead(self) -> tuple[set[int], set[int]]:
        """Return all CPUs with a perf event, and those where it is dead: its count stands still.

        The count of a live CPU clock grows from one read to the next, or by the next tick.
        """
        read = self._probe.obj.sample_clocks
        first, second = read(), read()
        dead = {cpu for cpu, clock in first.items() if second[cpu] <= clock}
        if dead:
            time.sleep(_TICK_SECONDS)
            third = read()
            dead = {cpu for cpu in dead if third[cpu] <= first[cpu]}
        return set(first), dead

    def _attach(self, cpu: int) -> bool:
        try:
            self._probe.obj.attach_sample(self._probe.program, cpu, self._frequency)
        except LibbpfError:  # offline again: the next poll retries
            return False
        return True

    def unseen(self) -> list[str]:
        """See ``Changes``."""
        return self._gaps.texts("was offline and not sampled")


class _Cpus(_Part):
    """Reports when CPUs of a ``--cpu`` filter were offline."""

    def __init__(self, cpus: tuple[int, ...]) -> None:
        self._cpus = cpus
        self._gaps = _Gaps()
        self._first = sorted(set(cpus) - set(online_cpus()))
        for cpu in self._first:
            self._gaps.open(cpu, 0.0)

    def at_start(self) -> list[str]:
        """See ``Changes``."""
        return [f"CPU {cpu} is offline: no hits until it is online" for cpu in self._first]

    def look(self, before: float, now: float) -> None:
        """Note CPUs that went offline or came back."""
        online = set(online_cpus())
        for cpu in self._cpus:
            if cpu not in online:
                self._gaps.open(cpu, before)
            elif self._gaps.is_open(cpu):
                self._gaps.close(cpu, now)

    def notes(self) -> list[str]:
        """See ``Changes``."""
        return self._gaps.texts("was offline")


class _Tasks(_Part):
    """Takes ended tasks out of a PID or TID filter, before the kernel reuses the number."""

    def __init__(self, probe: Probe, asked: Filters, filters: Filters) -> None:
        self._probe = probe
        pairs = [
            *(("process", PROCESSES_SECTION, *pair) for pair in _zip(asked.pids, filters.pids)),
            *(("thread", THREADS_SECTION, *pair) for pair in _zip(asked.tids, filters.tids)),
        ]
        self._alive = {pair: _started(pair[2]) for pair in pairs}
        self._ended: list[str] = []

    def look(self, before: float, now: float) -> None:
        """Drop tasks that ended, or whose number another task has now (by its start time)."""
        for task, started in list(self._alive.items()):
            kind, section, number, kernels = task
            if _started(number) != started:
                del self._alive[task]
                drop_tasks(self._probe.obj.map(section), [kernels])
                self._ended.append(f"{kind} {number} ended by second {now:.1f}")

    def notes(self) -> list[str]:
        """See ``Changes``."""
        return self._ended


def _zip(asked: tuple[int, ...], kernels: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(asked, kernels, strict=True))


def _started(number: int) -> str:
    """Return the start time of a task, in clock ticks since boot; "" if it is gone."""
    try:
        text = (_PROC / str(number) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # starttime: proc_pid_stat(5)


class _Places(_Part):
    """Keeps filters by path up to date: a cgroup or network namespace can be made anew there."""

    def __init__(self, probe: Probe, filters: Filters) -> None:
        self._probe = probe
        self._cgroups = [cgroup.number for cgroup in filters.cgroups]
        self._netns = list(filters.netns)
        paths = [cgroup.path for cgroup in filters.cgroups]
        netns_paths = filters.netns_paths or ("",) * len(filters.netns)
        self._places = [("cgroup", self._cgroups, at, path) for at, path in enumerate(paths)]
        self._places += [
            ("network namespace", self._netns, at, path) for at, path in enumerate(netns_paths)
        ]
        self._gone: dict[str, float] = {}
        self._told: list[str] = []

    def look(self, before: float, now: float) -> None:
        """Write the inode numbers that the paths have now to the filter map."""
        anew = False
        for kind, numbers, at, path in self._places:
            if not path:
                continue
            try:
                number = os.stat(path).st_ino
            except OSError:
                self._gone.setdefault(f"{kind} {path}", before)
                continue
            since = self._gone.pop(f"{kind} {path}", before)
            if number != numbers[at]:
                numbers[at] = number
                anew = True
                self._told.append(
                    f"{kind} {path} was recreated: its hits from second {since:.1f} to "
                    f"{now:.1f} were filtered"
                )
        if anew:
            put_places(self._probe.obj.map(PLACES_SECTION), self._netns, self._cgroups)

    def notes(self) -> list[str]:
        """See ``Changes``."""
        gone = [f"{name} was removed at second {since:.1f}" for name, since in self._gone.items()]
        return [*self._told, *gone]
