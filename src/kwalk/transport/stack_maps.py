# SPDX-License-Identifier: MIT
"""The helper method's two stack-trace maps: one is filled while the other is read.

A stack map's ids mean something only while their bucket is neither emptied nor refilled, and
a look-up from user space can drop a stack that is inserted meanwhile (kernel/bpf/stackmap.c
takes the bucket out and puts it back). So only the idle map is ever touched.
"""

from __future__ import annotations

import struct

from kwalk.abi import CONTROL, CONTROL_SECTION
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object

WORD = 8


class StackMaps:
    """Both maps of a loaded object.

    :param depth: Frames in a stack of theirs.
    :param control: ``struct kw_control`` as it stands; ``active_map`` is changed here.
    """

    def __init__(self, obj: Object, depth: int, control: dict[str, int]) -> None:
        self._maps = obj.map("stacks_a"), obj.map("stacks_b")
        self._barrier = obj.map("barrier")
        self._inner = obj.map("barrier_inner").fd.to_bytes(4, "little")
        self._section = obj.map(CONTROL_SECTION)
        self._control = control
        self._depth = depth

    def wait(self) -> None:
        """Return when every program that was running has ended.

        Updating a map in a map waits for an RCU grace period (maybe_wait_bpf_programs() in
        kernel/bpf/syscall.c), and programs run inside an RCU read-side section.
        """
        self._barrier.update(bytes(4), self._inner)

    def swap(self) -> int:
        """Turn new stacks to the other map; return the number of the one now idle.

        Records that name the idle map are all in the ring when this returns.
        """
        idle = self._control.get("active_map", 0)
        self._control["active_map"] = 1 - idle
        self._section.update(bytes(4), CONTROL.pack(self._control))
        self.wait()
        return idle

    def stack(self, number: int, stack_id: int) -> tuple[int, ...] | None:
        """Return the addresses of a stack, unused ones zero; None if it is gone."""
        try:
            data = self._maps[number].lookup(stack_id.to_bytes(4, "little"), self._depth * WORD)
        except LibbpfError:
            return None
        return None if data is None else struct.unpack(f"<{self._depth}Q", data)

    def clear(self, number: int) -> None:
        """Empty a map, the idle one."""
        for key in self._maps[number].each_key():
            self._maps[number].delete(key)
