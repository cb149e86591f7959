# SPDX-License-Identifier: MIT
"""Surroundings that change while a probe is attached: CPUs, tasks, cgroups, network namespaces.

Each look compares what is there with the look before, has the probe follow, and remembers what it
did not see meanwhile.
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
    """Watches what a probe depends on.

    :param probe: Attached.
    :param asked: The filters with numbers of tasks as the user has them.
    :param filters: The same in the kernel's numbers.
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
        """Whether there is something to look at."""
        return bool(self._parts)

    def at_start(self) -> list[str]:
        """Return what the user should know once the probe is attached."""
        return [note for part in self._parts for note in part.at_start()]

    def look(self, last: bool = False) -> bool:
        """Look, if it is time for that or the last chance; return whether it was."""
        now = time.monotonic()
        if now < self._due and not last:
            return False
        self._due = now + LOOK_SECONDS
        for part in self._parts:
            part.look(self._looked - self._began, now - self._began)
        self._looked = now
        return True

    def unseen(self) -> list[str]:
        """Return what was to be counted and cannot have been, a sentence each."""
        return [text for part in self._parts for text in part.unseen()]

    def notes(self) -> list[str]:
        """Return what else the user should know."""
        return [text for part in self._parts for text in part.notes()]


class _Part:
    """One kind of surroundings."""

    def at_start(self) -> list[str]:
        """See ``Changes``."""
        return []

    def look(self, before: float, now: float) -> None:
        """Look.

        :param before: When the look before was, in seconds since the start.
        """

    def unseen(self) -> list[str]:
        """See ``Changes``."""
        return []

    def notes(self) -> list[str]:
        """See ``Changes``."""
        return []


class _Gaps:
    """When CPUs were not there: of each the times from which and until which."""

    def __init__(self) -> None:
        self._gaps: dict[int, list[tuple[float, float | None]]] = {}

    def open(self, cpu: int, since: float) -> None:
        """Remember that a CPU was last seen at a time."""
        if not self.is_open(cpu):
            self._gaps.setdefault(cpu, []).append((since, None))

    def close(self, cpu: int, until: float) -> None:
        """Remember that a CPU is there again."""
        gaps = self._gaps[cpu]
        gaps[-1] = gaps[-1][0], until

    def is_open(self, cpu: int) -> bool:
        """Whether a CPU has not come back."""
        return cpu in self._gaps and self._gaps[cpu][-1][1] is None

    def texts(self, what: str) -> list[str]:
        """Return a sentence for each CPU.

        :param what: Such as ``was not sampled``.
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
    """Samples of CPUs: their events end when a CPU goes, and have to be made again."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._frequency = int(probe.selection.targets[0].name)
        self._gaps = _Gaps()

    def look(self, before: float, now: float) -> None:
        """Sample CPUs again that have come back, or that have come."""
        sampled, dead = self._dead()
        online = set(online_cpus())
        for cpu in sorted(dead | (online - sampled)):
            self._gaps.open(cpu, before)
            if cpu in online and self._attach(cpu):
                self._gaps.close(cpu, now)

    def _dead(self) -> tuple[set[int], set[int]]:
        """Return whose events there are, and which of these have ended: their clocks stand still.

        A clock that runs differs from one read to the next, or from one tick to the next.
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
        except LibbpfError:  # it has gone again: the next look tries anew
            return False
        return True

    def unseen(self) -> list[str]:
        """Return which CPU was not sampled, and when."""
        return self._gaps.texts("was offline, or came back: it was not sampled")


class _Cpus(_Part):
    """CPUs that are asked for: nothing happens on one that is offline."""

    def __init__(self, cpus: tuple[int, ...]) -> None:
        self._cpus = cpus
        self._gaps = _Gaps()
        self._first = sorted(set(cpus) - set(online_cpus()))
        for cpu in self._first:
            self._gaps.open(cpu, 0.0)

    def at_start(self) -> list[str]:
        """Name those that are offline."""
        return [f"CPU {cpu} is offline: nothing happens there" for cpu in self._first]

    def look(self, before: float, now: float) -> None:
        """See who has gone, and who is back."""
        online = set(online_cpus())
        for cpu in self._cpus:
            if cpu not in online:
                self._gaps.open(cpu, before)
            elif self._gaps.is_open(cpu):
                self._gaps.close(cpu, now)

    def notes(self) -> list[str]:
        """Return which CPU was offline, and when."""
        return self._gaps.texts("was offline")


class _Tasks(_Part):
    """Processes and threads that are asked for by number: the number may be given to another."""

    def __init__(self, probe: Probe, asked: Filters, filters: Filters) -> None:
        self._probe = probe
        pairs = [
            *(("process", PROCESSES_SECTION, *pair) for pair in _zip(asked.pids, filters.pids)),
            *(("thread", THREADS_SECTION, *pair) for pair in _zip(asked.tids, filters.tids)),
        ]
        self._alive = {pair: _started(pair[2]) for pair in pairs}
        self._ended: list[str] = []

    def look(self, before: float, now: float) -> None:
        """Stop tracing those that have ended."""
        for task, started in list(self._alive.items()):
            kind, section, number, kernels = task
            if _started(number) != started:
                del self._alive[task]
                drop_tasks(self._probe.obj.map(section), [kernels])
                self._ended.append(f"{kind} {number} ended by second {now:.1f}")

    def notes(self) -> list[str]:
        """Return who has ended."""
        return self._ended


def _zip(asked: tuple[int, ...], kernels: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(asked, kernels, strict=True))


def _started(number: int) -> str:
    """Return when a task started, in ticks of the kernel's; "" if it is gone."""
    try:
        text = (_PROC / str(number) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # starttime: proc_pid_stat(5)


class _Places(_Part):
    """Cgroups and network namespaces that are asked for by path: another one may take its place."""

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
        """Follow paths to where they lead now."""
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
                    f"{kind} {path} was made anew: its calls from second {since:.1f} to "
                    f"{now:.1f} are among those that were filtered"
                )
        if anew:
            put_places(self._probe.obj.map(PLACES_SECTION), self._netns, self._cgroups)

    def notes(self) -> list[str]:
        """Return what has become of them."""
        gone = [f"{name} is gone since second {since:.1f}" for name, since in self._gone.items()]
        return [*self._told, *gone]
