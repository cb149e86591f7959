# SPDX-License-Identifier: MIT
"""The state that an entry program leaves in the tree: ``struct kw_hot``."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.arch import here
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
        found = _begun(rows[cpu])
        here().acquire()
        again = _begun(self._tree.hot(cpu))
        if found != again or not any(found):  # a walk may be writing them
            return None
        return HotStart(True, *found, self._probe.config["func"])


def _begun(row: dict[str, int]) -> tuple[int, int, int]:
    """Return what a walk found at its start; the counters beside it never stand still."""
    return row["arguments"], row["shift"], row["returns"]
