# SPDX-License-Identifier: MIT
"""The state that an entry program leaves in the tree: ``struct kw_hot``."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.arch.hot_frame import HotStart
from kwalk.probe.attach import TRAMPOLINES
from kwalk.probe.probe import Probe


class Seen(NamedTuple):
    """Counters at one time, of all CPUs.

    :ivar missed: Hits that the programs did not know.
    :ivar unassisted: Hits without a program.
    """

    hits: int
    missed: int
    unassisted: int


class EntryCounters:
    """Reads the state of a probe's entry program on each CPU."""

    def __init__(self, probe: Probe, cpus: int) -> None:
        self._probe = probe
        self._tree = probe.tree
        self._walked = [0] * cpus

    def _rows(self) -> list[dict[str, int]]:
        return [self._tree.hot(cpu) for cpu in range(len(self._walked))]

    def seen(self) -> Seen:
        """Return the counters so far."""
        rows = self._rows()
        missed, unassisted = (sum(row[name] for row in rows) for name in Seen._fields[1:])
        return Seen(self._tree.hits_of(0), missed, unassisted)

    def start(self) -> HotStart | None:
        """Return how hits begin, as walks since the last call have met it on the busiest CPU."""
        if self._probe.attach not in TRAMPOLINES:
            return HotStart(fentry=False)
        rows = self._rows()
        walked = [row["unassisted"] + row["missed"] for row in rows]
        since = [now - then for now, then in zip(walked, self._walked, strict=True)]
        self._walked = walked
        if not any(since):
            return None
        cpu = since.index(max(since))
        row = rows[cpu]
        # A walk may be writing these.
        if row != self._tree.hot(cpu) or not (row["arguments"] or row["shift"] or row["returns"]):
            return None
        func = self._probe.config["func"]
        return HotStart(True, row["arguments"], row["shift"], row["returns"], func)
