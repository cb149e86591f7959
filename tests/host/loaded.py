# SPDX-License-Identifier: MIT
"""Runs of the programs of bpf/ in this process, on a synthetic kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kernel import Kernel
from layouts import Types, answer
from library import NEVER, Cpu, Map, ffi
from read_back import Outcome

from kwalk.abi import (
    CONFIG,
    CONTROL,
    NO_ADDRESS,
    NODE,
    PLACES,
)
from kwalk.probe.config import digits
from kwalk.probe.hot_entry import leaves_bytes
from kwalk.transport import context_tree as trees
from kwalk.transport.context_tree import NODE_BYTES, Tree
from kwalk.transport.ring import PAGE, Ring

CONTEXT = 512  # bytes of program context for each CPU
_DIGITS = digits()
_HITS = struct.calcsize("<" + "".join(NODE.codes[: NODE.fields.index("sequence")]))
_known: tuple[Types, Any] | None = None  # layout in use by the library, and its callback


class Loaded(Outcome):
    """Programs loaded for a kernel.

    :param levels: Levels of programs that the tree has roots for.
    :param settings: Members of ``struct kw_config``.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        cpus: int = 2,
        nodes: int = 200,
        ring: int = PAGE,
        entries: int = 8,
        levels: int = 1,
        **settings: int | bytes,
    ) -> None:
        super().__init__(cpus)
        self.kernel = kernel
        self.config: dict[str, int | bytes] = {**kernel.config(cpus * levels, nodes), **settings}
        self.control = kernel.control()
        self._tasks: list[Any] = []  # kept alive for programs
        self._know_layout()
        self._know_memory()
        size = trees.size_for(nodes, cpus, levels)
        self.maps = {
            "tree": Map("tree", size * NODE_BYTES, 1, cpus, True),
            "buckets": Map("buckets", size * 4, 1, cpus, False),
            "nodes_used": Map("nodes_used", 0, 1, cpus, False),
            "weights": Map("weights", size * 8, 1, cpus, False),
            "counters": Map("counters", 0, 1, cpus, False),
            "scratch": Map("scratch", 0, 1, cpus, False),
            "stacks_a": Map("stacks_a", 0, 64, cpus, False),
            "stacks_b": Map("stacks_b", 0, 64, cpus, False),
            "counted": Map("counted", 0, entries, cpus, False),
            "calls": Map("calls", 0, 1, cpus, False),
            "leaves": Map("leaves", leaves_bytes(cpus), 1, cpus, False),
            "keys": Map("keys", 0, 0, cpus, False),
            "events": Map("events", 0, ring, cpus, True),
        }
        self.write("cfg", CONFIG.pack(self.config))
        self.write("control", CONTROL.pack(self.control))
        self.write("digits", _DIGITS)
        self.write("places", PLACES.pack({}))
        self.cpus = [Cpu(number, kernel.task) for number in range(cpus)]
        self.tree = Tree(self, cpus, size, levels)  # type: ignore[arg-type]
        many = bool(self.config.get("many"))
        self.tree.plant(NO_ADDRESS if many else int(self.config.get("func", 0)))
        self.ring = Ring(self.maps["events"].fd, ring)
        at = ffi.cast("void *", ffi.from_buffer(self.ring._data))
        self._lib.host_ring_wraps(at, ring, self.maps["events"].fd)

    @property
    def sampled(self) -> bool:
        return bool(self.config.get("sampled"))

    def _know_layout(self) -> None:
        global _known
        types = self.kernel.known
        if _known and _known[0] is types:
            return  # relocations in the code are still right

        def ask(question: int, about: Any) -> int:
            return answer(types, question, ffi.string(about).decode())

        _known = types, ffi.callback("int64_t(int, const char *)", ask)
        self._lib.host_set_layout(_known[1])

    def _know_memory(self) -> None:
        self._context = bytearray(4096)
        views = [(start, ffi.from_buffer(data)) for start, data in self.kernel.memory]
        # A program's context is in this process's memory and in the kernel's.
        own = ffi.from_buffer(self._context)
        self.context_at = int(ffi.cast("uint64_t", own))
        views = sorted([*views, (self.context_at, own)], key=lambda view: view[0])
        self._views = views
        self._ranges = ffi.new("struct range[]", len(views))
        for entry, (start, view) in zip(self._ranges, views, strict=True):
            entry.start, entry.size = start, len(view)
            entry.memory = ffi.cast("uint8_t *", view)
        self._lib.host_set_memory(self._ranges, len(views))

    def set_config(self, **members: int) -> None:
        """Set members of ``struct kw_config`` for later runs."""
        self.config |= members
        self.write("cfg", CONFIG.pack(self.config))

    def change(self, **members: int) -> None:
        """Set members of ``struct kw_control`` while programs run."""
        self.control |= members
        self.write("control", CONTROL.pack(self.control))

    def close(self) -> None:
        """Unmap all memory."""
        self.tree.close()
        self.ring.close()
        self.close_files()
        for each in self.maps.values():
            each.close()

    # Running

    def run(self, program: str, context: bytes | int = b"", cpu: int = 0) -> int:
        """Run a program once.

        :param context: Its context: bytes, or an address in the kernel's memory.
        """
        if isinstance(context, int):
            at = context
        else:
            self._context[cpu * CONTEXT : cpu * CONTEXT + len(context)] = context
            at = self.context_at + cpu * CONTEXT
        state, kernel = self.cpus[cpu].state, self.kernel
        comm = kernel.at(state.task, "struct task_struct", "comm")
        kernel.memory.put(comm, bytes(ffi.buffer(state.comm)))
        pointer = ffi.cast("void *", at)
        return int(self._lib.host_run(program.encode(), pointer, state))

    def answered(self, size: int) -> bytes:
        """Return the context of the first CPU, which a program may have written."""
        return bytes(self._context[:size])

    @contextmanager
    def pause(self, at: int, do: Callable[[], None], cpu: int = 0) -> Iterator[None]:
        """Call ``do`` at the ``at``-th load or look-up of a CPU's next run."""
        state = self.cpus[cpu].state
        callback = ffi.callback("void(void)", do)
        self._lib.host_set_pause(callback)
        state.tick, state.pause = 0, at
        try:
            yield
        finally:
            state.pause = NEVER
            self._lib.host_set_pause(ffi.NULL)

    # Contexts that contain tasks

    def host_task(self, pid: int, tgid: int) -> Any:
        """Make a ``struct task_struct`` that programs read directly."""
        task = ffi.new("char[]", self._lib.host_task_bytes())
        self._tasks.append(task)
        self._lib.host_task(task, pid, tgid)
        return task

    def iterated(self, pid: int, tgid: int, numbers: int) -> bytes:
        """Write the context of a task iterator's program.

        Programs read it directly, and as kernel memory by its address.

        :param numbers: Address of its ``struct pid``.
        """
        meta, task = self.context_at + 64, self.context_at + 128
        at = 128 + self.kernel.types.offset("struct task_struct", "thread_pid")
        struct.pack_into("<Q", self._context, at, numbers)
        self._lib.host_task(ffi.cast("void *", task), pid, tgid)
        return struct.pack("<QQ", meta, task)

    def pointers(self, *objects: Any) -> bytes:
        """Return a context of the objects' addresses."""
        return struct.pack(
            f"<{len(objects)}Q", *(int(ffi.cast("uint64_t", each)) for each in objects)
        )
