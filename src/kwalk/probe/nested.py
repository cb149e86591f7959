# SPDX-License-Identifier: MIT
"""Nested hits: of a function that is called while the probe's program is running on that CPU.

The kernel refuses them to a program at fentry or fexit, and counts each (``recursion_misses`` in
struct bpf_prog_info). A second program on the same function takes exactly those (docs/nested.md).
It is attached before the first one where nested hits are likely, else when the kernel has counted
one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from kwalk.abi import LEVELS, Method
from kwalk.errors import KwalkError
from kwalk.kernel import preemption
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object
from kwalk.probe.attach import HOT_PROGRAMS, PROGRAMS
from kwalk.probe.config import levels
from kwalk.probe.load import Loaded
from kwalk.probe.nested_level import NESTED_PROGRAMS, NestedLevel
from kwalk.probe.selection import Selection
from kwalk.transport.counters import kernel_misses

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.model.ledger import NestedUse

FIRST_SECONDS = 0.1
LOOK_SECONDS = 1.0
LIKELY = (
    *("kmem_cache_", "kmalloc", "__kmalloc", "kfree", "call_rcu", "__call_rcu"),
    *("try_to_wake_up", "wake_up_", "__wake_up", "ttwu_", "enqueue_", "raise_softirq"),
    *("hrtimer_", "__hrtimer_", "mod_timer", "add_timer", "ktime_get", "clockevents_"),
    *("_raw_spin_", "queued_spin_", "native_queued_spin_", "update_rq_clock"),
)
"""Beginnings of names of functions that tasks, softirqs and interrupts call all the time."""


class NestedPrograms:
    """The programs for nested hits of a probe.

    :param loaded: The probe's own program; not attached yet, or attached.
    :param way: One of ``NESTED_PROGRAMS``.
    :ivar due: When to ``look`` next, in seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, loaded: Loaded, way: str, selection: Selection, symbols: Kallsyms) -> None:
        self._loaded, self._way = loaded, way
        self._target, self._symbols = selection.targets[0], symbols
        self._levels: list[NestedLevel] = []
        self._follow: Callable[[Object], None] = lambda obj: None
        self._missed = 0  # hits that the kernel refused in vain, before the first level
        self._seen = 0  # likewise, at the last look
        self._end: int | None = None  # hits that it refused at all
        self._preempts = False
        self._why = ""
        self.due = time.monotonic() + FIRST_SECONDS

    @classmethod
    def of(
        cls,
        loaded: Loaded,
        way: str,
        selection: Selection,
        symbols: Kallsyms,
        method: Method,
    ) -> Self | None:
        """Return the programs of a probe; None where there can be none (``config.levels``)."""
        if way not in NESTED_PROGRAMS or levels(method, fentry=True) == 1:
            return None
        return cls(loaded, way, selection, symbols)

    def begin(self) -> None:
        """Attach the first level if nested hits are likely; call it before level 0 is attached."""
        if self._target.name.startswith(LIKELY):
            self._add()

    def trial(self) -> str:
        """Attach a level now; return why the kernel refuses it, "" if it does not."""
        if not self._levels:
            self._add()
        return self._why

    def look(self) -> None:
        """Attach a level if it is time, and the kernel has refused hits in vain since the last."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + LOOK_SECONDS
        if self._misses() - self.taken() > self._seen:
            self._add()
            self._seen = max(self._misses() - self.taken(), 0)

    def follow(self, added: Callable[[Object], None]) -> None:
        """Call ``added`` with the object of each level, also of later ones."""
        self._follow = added
        for level in self._levels:
            added(level.obj)

    def detach(self) -> None:
        """Detach all levels, once level 0 is detached."""
        self.due = math.inf
        for level in self._levels:
            level.obj.detach()

    def close(self) -> None:
        """Detach and free all levels, before level 0 is freed."""
        self.detach()
        while self._levels:
            self._levels.pop().obj.close()

    def taken(self) -> int:
        """Return the nested hits that were taken, filtered ones included."""
        tree, gates = self._loaded.tree, self._loaded.gates
        numbers = (level.level for level in self._levels)
        return sum(tree.hits_of(number) + gates.filtered_by(number) for number in numbers)

    def lost(self, misses: int) -> int:
        """Return the hits that no level took.

        :param misses: Hits that the kernel refused to level 0.
        """
        self._end = misses
        return max(misses - self.taken(), self._missed)

    def use(self) -> NestedUse | None:
        """Return what the levels did so far; None if there was no use for them."""
        if not self._levels and not self._why:
            return None
        from kwalk.model.ledger import NestedUse

        return NestedUse(self.taken(), len(self._levels), self._twice(), self._why)

    def uncounted(self) -> str:
        """Return what the kernel's preemption leaves open, as a sentence; "" if nothing."""
        if not self._preempts or not self.taken():
            return ""
        return (
            "this kernel preempts programs: a nested hit is lost or counted twice if another task "
            "comes right between two programs, and only the difference of both is known"
        )

    def _twice(self) -> int:
        if self._end is None or not self._preempts:
            return 0
        return max(self.taken() - (self._end - self._missed), 0)

    def _misses(self) -> int:
        loaded = self._loaded
        program = (HOT_PROGRAMS if loaded.hot else PROGRAMS)[self._way]
        return kernel_misses(loaded.obj, program, link=False)["recursion"]

    def _add(self) -> None:
        """Load and attach one more level; give up if the kernel refuses it."""
        if len(self._levels) + 1 == LEVELS:
            self.due = math.inf
            return
        try:
            level = NestedLevel(self._loaded, self._way, self._target, self._symbols, self._levels)
        except KwalkError as error:
            self._give_up(error)
            return
        if not self._levels:
            self._preempts = self._asked(level)
            self._missed = self._misses()
        try:
            level.attach()
        except KwalkError as error:
            level.obj.close()
            self._give_up(error)
            return
        self._levels.append(level)
        self._follow(level.obj)

    def _give_up(self, error: KwalkError) -> None:
        self._why = error.what
        self.due = math.inf

    def _asked(self, level: NestedLevel) -> bool:
        """Return whether the kernel preempts programs."""
        address = self._symbols.address(preemption.MODE_SYMBOL)
        word = level.memory(address, 4) if address else b""
        return preemption.preempts(int.from_bytes(word, "little") if word else None)
