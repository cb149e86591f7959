# SPDX-License-Identifier: MIT
"""A calling-context tree as programs leave it in memory, and records that name its nodes."""

from __future__ import annotations

import mmap
import os
import struct
from types import SimpleNamespace
from typing import Any

from kwalk.abi import EVENT, NO_ADDRESS, NODE, WEIGHT_ONE, NodeKind
from kwalk.transport.context_tree import NODE_BYTES, PER_CPU, Tree, reserved, size_for
from kwalk.transport.ring import HEADER

FUNC = 0xFFFFFFFF81000000
A, B, C, D = (FUNC + 0x100 * number + 0x10 for number in range(1, 5))
UNKNOWN_CALLER = 1
JUMPED_MARK = ~(1 << 63)
_PARTS = {
    name: struct.calcsize("<" + "".join(NODE.codes[:n])) for n, name in enumerate(NODE.fields)
}
_VALUE, _HITS = _PARTS["hint"], _PARTS["sequence"]  # the unions' other members


class Planted:
    """The memory of the maps ``tree`` and ``nodes_used``, and what programs do to it.

    :param cpus: Possible CPUs.
    :param nodes: Frames that there is room for.
    """

    def __init__(self, cpus: int = 2, nodes: int = 240) -> None:
        self.cpus = cpus
        self.size = size_for(nodes, cpus)
        length = -(-self.size * NODE_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self.fd = os.memfd_create("tree")
        os.truncate(self.fd, length)
        self.memory = mmap.mmap(self.fd, length)
        self.used = 0
        self._children: dict[tuple[int, int], int] = {}
        self.maps: dict[str, Any] = {
            "tree": SimpleNamespace(fd=self.fd),
            "nodes_used": SimpleNamespace(lookup=self._lookup, update=self._update),
            "weights": SimpleNamespace(lookup=self._weights),
        }
        self.weights = [0] * self.size
        self.tree = self.plant()

    def _lookup(self, key: bytes, size: int) -> bytes:
        assert (key, size) == (bytes(4), 8)
        return self.used.to_bytes(8, "little")

    def _update(self, key: bytes, value: bytes) -> None:
        assert key == bytes(4)
        self.used = int.from_bytes(value, "little")

    def _weights(self, key: bytes, size: int) -> bytes:
        assert (key, size) == (bytes(4), 8 * self.size)
        return struct.pack(f"<{self.size}Q", *self.weights)

    def plant(self, function: int = FUNC) -> Tree:
        """User space's view of it, its roots at a function; what programs did before stays."""
        used = self.used
        roots = [self.root(cpu) + kernel for cpu in range(self.cpus) for kernel in (0, NODE_BYTES)]
        before = [self.memory[root : root + NODE_BYTES] for root in roots]
        tree = Tree(SimpleNamespace(map=self.maps.__getitem__), self.cpus, self.size)  # type: ignore[arg-type]
        tree.plant(function)
        assert self.used == reserved(self.cpus)
        for root, node in zip(roots, before, strict=True) if used else ():
            self.memory[root + 8 : root + NODE_BYTES] = node[8:]
        self.used = max(used, self.used)
        return tree

    def close(self) -> None:
        """Free the memory."""
        self.tree.close()
        self.memory.close()
        os.close(self.fd)

    @staticmethod
    def root(cpu: int = 0) -> int:
        """The offset of a CPU's root of what was walked; the next node is that of the kernel's."""
        return (1 + cpu) * PER_CPU * NODE_BYTES

    def write(self, offset: int, **members: int) -> None:
        """Set members of a node."""
        for name, value in members.items():
            at = offset + _PARTS[name]
            struct.pack_into("<" + NODE.codes[NODE.fields.index(name)], self.memory, at, value)

    def take(
        self, parent: int, ip: int, kind: NodeKind = NodeKind.PLAIN, value: bytes = b""
    ) -> int:
        """Make a node, whether or not there is one like it; return its offset."""
        offset = self.used * NODE_BYTES
        self.used += 1
        self.write(offset, ip=ip, parent=parent, kind=kind)
        if value:
            self.memory[offset + _VALUE : offset + _VALUE + 16] = value.ljust(16, b"\0")
        return offset

    def child(
        self, parent: int, ip: int, kind: NodeKind = NodeKind.PLAIN, value: bytes = b""
    ) -> int:
        """Find or make the child of a node."""
        key = parent, ip
        if key not in self._children:
            self._children[key] = self.take(parent, ip, kind, value)
        return self._children[key]

    def walked(self, *addresses: int, cpu: int = 0, cut: int = 0) -> int:
        """Where a walk from FUNC by way of ``addresses`` ends.

        :param cut: The first address beyond the depth, or 0.
        """
        at = self.root(cpu)
        for address in addresses:
            at = self.child(at, address)
        return self.child(at, cut, NodeKind.CUT) if cut else at

    def kernels(self, *words: int, mark: int = UNKNOWN_CALLER, cpu: int = 0) -> int:
        """Where a stack of the kernel's own unwinder ends."""
        at = self.child(self.root(cpu) + NODE_BYTES, mark, NodeKind.KERNEL)
        for word in words:
            at = self.child(at, word, NodeKind.KERNEL)
        return at

    def process(self, leaf: int, tgid: int, comm: bytes = b"redis") -> int:
        """The node for those events of ``leaf`` that were of a process."""
        return self.child(leaf, NO_ADDRESS | tgid, NodeKind.GROUP, comm)

    def count(self, offset: int, ended: int = 0, cut: int = 0, each: float = 1) -> None:
        """Count events at a node, each of which stands for some."""
        self.weights[offset // NODE_BYTES] += round(WEIGHT_ONE * each) * (ended + cut)
        node = self.tree.node(offset)
        self.write(offset, count=node.ended + ended, cut=node.cut + cut)

    def hit(self, number: int, cpu: int = 0) -> None:
        """Set how often the program has run on a CPU."""
        struct.pack_into("<Q", self.memory, self.root(cpu) + _HITS, number)

    def sample_out(self, number: int, cpu: int = 0) -> None:
        """Set how many of these a CPU left alone."""
        struct.pack_into("<Q", self.memory, self.root(cpu) + NODE_BYTES + _HITS, number)


def record(
    node: int = 0,
    flags: int = 0,
    *,
    other: int = 0,
    stack_id: int = 0,
    time_ns: int = 1,
    clock: bytes = b"12:00:00.000000 ",
    cpu: int = 0,
    tgid: int = 7,
    pid: int = 7,
    comm: bytes = b"redis",
    brief: bool = False,
) -> bytes:
    """A record of the ring behind its header, as ``Ring.batch`` shows it."""
    event = EVENT.pack(
        {
            "node": node,
            "stack_id": stack_id,
            "flags": flags,
            "cpu": cpu,
            "other": other,
            "time_ns": time_ns,
            "clock": clock,
            "tgid": tgid,
            "pid": pid,
            "comm": comm,
        }
    )
    event = event[:16] if brief else event
    return struct.pack("<II", len(event), 0xABCD) + event


assert len(record()) == HEADER + EVENT.size
