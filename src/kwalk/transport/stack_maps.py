# SPDX-License-Identifier: MIT
"""The helper method's two stack maps: programs fill one while user space reads the other.

An id is valid only until its bucket is cleared or reused, and a lookup from user space can drop a
stack that is inserted meanwhile (kernel/bpf/stackmap.c removes the bucket and restores it). So user
space accesses the idle map only.
"""

from __future__ import annotations

import struct

from kwalk.abi import CONTROL, CONTROL_SECTION
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object

WORD = 8


class StackMaps:
    """Both stack maps of a loaded object.

    :param depth: Frames in each of their stacks.
    :param control: The current ``struct kw_control``, of which this class changes ``active_map``.
    """

    def __init__(self, obj: Object, depth: int, control: dict[str, int]) -> None:
        self._maps = obj.map("stacks_a"), obj.map("stacks_b")
        self._barrier = obj.map("barrier")
        self._inner = obj.map("barrier_inner").fd.to_bytes(4, "little")
        self._section = obj.map(CONTROL_SECTION)
        self._control = control
        self._depth = depth

    def wait(self) -> None:
        """Wait until every running program has ended.

        Updating a map in a map waits for an RCU grace period (maybe_wait_bpf_programs() in
        kernel/bpf/syscall.c), and programs run inside an RCU read-side section.
        """
        self._barrier.update(bytes(4), self._inner)

    def swap(self) -> int:
        """Switch programs to the other map; return the number of the one that is idle now.

        All records with ids of the idle map are in the ring when this returns.
        """
        idle = self._control.get("active_map", 0)
        self._control["active_map"] = 1 - idle
        self._section.update(bytes(4), CONTROL.pack(self._control))
        self.wait()
        return idle

    def stack(self, number: int, stack_id: int) -> tuple[int, ...] | None:
        """Return a stack's addresses, zeros behind the last; None if the map has it no more."""
        try:
            data = self._maps[number].lookup(stack_id.to_bytes(4, "little"), self._depth * WORD)
        except LibbpfError:
            return None
        return None if data is None else struct.unpack(f"<{self._depth}Q", data)

    def clear(self, number: int) -> None:
        """Delete all stacks of the idle map."""
        for key in self._maps[number].each_key():
            self._maps[number].delete(key)
