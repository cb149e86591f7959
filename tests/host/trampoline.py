# SPDX-License-Identifier: MIT
"""BPF trampolines with a program for each level, and the kernel's rule of which programs run."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from library import ffi
from loaded import Loaded
from machine import Execution
from objects import HEAP
from worlds import World

from kwalk.abi import CONFIG, COUNTERS, LEVELS, SLOTS

PROGRAMS = ["kw_fentry", *["kw_fentry_nested"] * (LEVELS - 1)]
SLOTS_BYTES = 64
# Maps of an object's own, with the size of a CPU's value.
_OWN = {
    "scratch": 16 + 2 * (8 + 128 * 8),
    "counters": COUNTERS.size,
    "keys": (SLOTS + 1) * SLOTS_BYTES,
}
_CPU_BYTES = 64


class Trampolines:
    """Programs of all levels on one function.

    A program is not run while it is running on the same CPU: __bpf_prog_enter_recur() in
    kernel/bpf/trampoline.c.

    :param levels: Levels that are attached.
    :ivar misses: Runs that the kernel refused, by level.
    :ivar hits: Calls of the function, by stack.
    """

    def __init__(self, world: World, levels: int, cpus: int = 2, **settings: int) -> None:
        self.world, self.levels, self._cpus = world, levels, cpus
        memory = world.kernel.memory
        self._active = memory.area(HEAP + 0x6F00000000, 4096)
        memory.put(self._active, b"\xff" * 4096)  # what others keep beside the flags
        for level in range(LEVELS):
            for cpu in range(cpus):
                memory.put_int(self.active(level, cpu), 0)
        self.loaded = Loaded(
            world.kernel, cpus=cpus, levels=LEVELS, nodes=3000, func=world.func.start, fentry=1,
            **settings,
        )  # fmt: skip
        self._own = [{name: bytes(self._view(name)) for name in _OWN} for _ in range(LEVELS)]
        self._running = 0
        self.misses = [0] * LEVELS
        self.hits: Counter[tuple[int, ...]] = Counter()
        self.between: Callable[[], None] = lambda: None

    def active(self, level: int, cpu: int) -> int:
        """Return the address of the flag of a program on a CPU."""
        return self._active + 8 + cpu * _CPU_BYTES + 4 * level

    def _view(self, name: str) -> Any:
        return ffi.buffer(self.loaded.maps[name].memory, _OWN[name] * self._cpus)

    def call(self, execution: Execution, cpu: int = 0) -> None:
        """Call the function: the program attached last runs first."""
        state = self.loaded.cpus[cpu].state
        task, arguments = state.task, state.arguments
        self.hits[self.world.func.start, *execution.callers] += 1
        sp = execution.sp
        context = execution.trampoline(self.world.func.start, 2)
        for level in reversed(range(self.levels)):
            self.between()
            state.task, state.arguments = execution.task, 2
            self._enter(level, context, cpu)
        execution.sp = sp
        state.task, state.arguments = task, arguments

    def _enter(self, level: int, context: int, cpu: int) -> None:
        memory, at = self.world.kernel.memory, self.active(level, cpu)
        now = struct.unpack("<I", memory.read(at, 4) or b"")[0] + 1
        memory.put_int(at, now)
        if now > 1:
            self.misses[level] += 1
        else:
            self.between()
            with self._switched(level):
                self.loaded.run(PROGRAMS[level], context, cpu)
            self.between()
        memory.put_int(at, struct.unpack("<I", memory.read(at, 4) or b"")[0] - 1)

    @contextmanager
    def _switched(self, level: int) -> Iterator[None]:
        """Have the code see a level's own configuration and maps."""
        before = self._running
        self._switch(before, level)
        try:
            yield
        finally:
            self._switch(level, before)

    def _switch(self, old: int, new: int) -> None:
        for name in _OWN:
            view = self._view(name)
            self._own[old][name] = bytes(view)
            view[:] = self._own[new][name]
        self._running = new
        words: list[int] = []
        for cpu in range(self._cpus):
            words += [self.active(below, cpu) if below < new else 0 for below in range(LEVELS - 1)]
        self.loaded.write("actives", struct.pack(f"<{len(words)}Q", *words))
        config = {**self.loaded.config, "first_part": new * self._cpus}
        self.loaded.write("cfg", CONFIG.pack(config))

    def taken(self) -> int:
        """Return the nested hits that levels above 0 took."""
        return sum(map(self.loaded.tree.hits_of, range(1, LEVELS)))

    def counters(self) -> dict[str, int]:
        """Return the counters of all levels, without those that are 0."""
        values = [bytes(self._view("counters")), *(own["counters"] for own in self._own[1:])]
        rows = [
            COUNTERS.struct.unpack_from(data, at)
            for data in values
            for at in range(0, len(data), COUNTERS.size)
        ]
        sums = zip(COUNTERS.fields, map(sum, zip(*rows, strict=True)), strict=True)
        return {name: value for name, value in sums if value}

    def close(self) -> None:
        """Free all memory."""
        self.loaded.close()
