# SPDX-License-Identifier: MIT
"""The calling-context tree, mapped and read while programs write it.

One program on one CPU writes a node, and orders it before its first count (``kw_link()``); a node
never moves and never becomes another frame's. So a node is read behind an acquire that follows the
load of its count, or of the record that names it. Its parent was complete before.

Nothing orders counters of different nodes: while programs run, a stack may be counted and the hit
not yet. Behind ``StackMaps.wait()``, a grace period of RCU, all of them are final.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import HOT, NO_ADDRESS, NODE, NodeKind, Source
from kwalk.arch import here
from kwalk.libbpf.map import store
from kwalk.libbpf.object import Object

NODE_BYTES = NODE.size
# Nodes that struct kw_cpu takes, for each CPU of each level, before the first frame; its first two
# are roots. The same number precedes all of them; the first is node 0.
PER_CPU = 8
HOT_INDEX = 2  # struct kw_hot among these
# struct kw_node as ContextNode has it; the 16 bytes at offset 8 are a group's value.
_NODE = struct.Struct("<Q16sI4xQQ8xBB6x")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_CHANCE = struct.calcsize("<" + "".join(NODE.codes[: NODE.fields.index("rule")]))  # kw_chance()
_HITS = struct.calcsize("<" + "".join(NODE.codes[: NODE.fields.index("sequence")]))  # in a root


def reserved(cpus: int, levels: int = 1) -> int:
    """Return the index of the first node for a frame.

    :param levels: Levels of programs that share the tree (``KW_LEVELS``).
    """
    return PER_CPU * (1 + levels * cpus)


def size_for(nodes: int, cpus: int, levels: int = 1) -> int:
    """Return the map's number of nodes, a power of two, that has room for ``nodes`` frames."""
    return 1 << (nodes + reserved(cpus, levels) - 1).bit_length()


class ContextNode(NamedTuple):
    """A frame in its context, or a group of hits under it: ``struct kw_node``.

    :ivar ip: The frame's address; a group's ``NO_ADDRESS`` | process, CPU or hash.
    :ivar value: A group's comm, or its cgroup's id.
    :ivar parent: The parent's offset in bytes; 0 for a root.
    :ivar ended: Hits whose stack ends here.
    :ivar cut: Hits whose stack is truncated here.
    """

    ip: int
    value: bytes
    parent: int
    ended: int
    cut: int
    kind: int
    source: int = 0

    @property
    def code(self) -> int:
        """Identity of the module or BPF code of the frame (``Stack.codes``); 0 for vmlinux."""
        if self.source not in (Source.MODULE, Source.BPF):
            return 0
        known: int = _U32.unpack_from(self.value, 8)[0]
        return known and self.source << 32 | known


class Tree:
    """The mapped tree of a loaded object.

    :param cpus: Number of possible CPUs; each has a root for walked stacks, and one for
        stacks of the kernel's unwinder, for each level.
    :param size: Nodes in the map, a power of two.
    :param levels: Levels of programs that the tree has roots for.
    """

    def __init__(self, obj: Object, cpus: int, size: int, levels: int = 1) -> None:
        self._cpus = cpus
        self._first = reserved(cpus, levels)
        self._used = obj.map("nodes_used")
        self._weights = obj.map("weights")
        self._size = size
        fd = obj.map("tree").fd
        length = -(-size * NODE_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._acquire = here().acquire

    def plant(self, function: int) -> None:
        """Write the roots, before the program is attached.

        :param function: Address of the traced instruction; ``NO_ADDRESS`` if there are several.
        """
        self._write(0, {"ip": NO_ADDRESS})
        for index in self._roots():
            self._write(index, {"ip": function, "kind": NodeKind.ROOT})
            self._write(index + 1, {"ip": function, "kind": NodeKind.ROOT})
        self._used.update(bytes(4), _U64.pack(self._first))

    def _write(self, index: int, members: dict[str, int]) -> None:
        start = index * NODE_BYTES
        self._memory[start : start + NODE_BYTES] = NODE.pack(members)

    def _roots(self) -> range:
        """Indices of the roots of walked stacks; each precedes one of the kernel's stacks."""
        return range(PER_CPU, self._first, PER_CPU)

    @property
    def used(self) -> int:
        """Number of nodes that hold a frame or a group."""
        data = self._used.lookup(bytes(4), 8) or bytes(8)
        return int(min(_U64.unpack(data)[0], self._size)) - self._first

    @staticmethod
    def is_kernels(root: int) -> bool:
        """Whether the stacks under a root come from the kernel's own unwinder."""
        return root // NODE_BYTES % PER_CPU == 1

    def sample(self, chance: float) -> None:
        """Set the probability, from now on, with which a hit is not skipped."""
        below = min(max(round(chance * (1 << 32)) - 1, 0), (1 << 32) - 1)
        store(self._memory, _CHANCE, below, 4)

    def hits(self) -> int:
        """Return the number of hits that passed the filters, of all levels."""
        return self._hits(self._roots())

    def hits_of(self, level: int) -> int:
        """Return the number of hits that passed the filters, of one level."""
        return self._hits(
            range(reserved(self._cpus, level), reserved(self._cpus, level + 1), PER_CPU)
        )

    def sampled_out(self) -> int:
        """Return the number of hits skipped by sampling."""
        return self._hits(range(PER_CPU + 1, self._first, PER_CPU))

    def _hits(self, roots: range) -> int:
        unpack, memory = _U64.unpack_from, self._memory
        return sum(unpack(memory, index * NODE_BYTES + _HITS)[0] for index in roots)

    def node(self, offset: int) -> ContextNode:
        """Return the node at ``offset`` bytes."""
        return ContextNode._make(_NODE.unpack_from(self._memory, offset))

    def members(self, offset: int) -> dict[str, int]:
        """Return all members of the node at ``offset`` bytes (``struct kw_node``)."""
        return NODE.unpack(self._memory[offset : offset + NODE_BYTES])

    def cpu_of(self, offset: int) -> int:
        """Return the CPU whose tree the node at ``offset`` is in."""
        return self._part(offset) % self._cpus

    def level_of(self, offset: int) -> int:
        """Return the level of the program that writes the node at ``offset``."""
        return self._part(offset) // self._cpus

    def _part(self, offset: int) -> int:
        while parent := self.node(offset).parent:
            offset = parent
        return offset // NODE_BYTES // PER_CPU - 1

    def hot(self, cpu: int) -> dict[str, int]:
        """Return ``struct kw_hot`` of a CPU."""
        start = ((1 + cpu) * PER_CPU + HOT_INDEX) * NODE_BYTES
        return HOT.unpack(self._memory[start : start + NODE_BYTES])

    def counted(self) -> list[tuple[int, ContextNode]]:
        """Return the nodes with counts, roots included, each with its offset in bytes."""
        memory = self._memory
        copy = memory[: (self._first + self.used) * NODE_BYTES]
        self._acquire()
        found = []
        for index, row in enumerate(_NODE.iter_unpack(copy)):
            if row[3] or row[4]:
                offset = index * NODE_BYTES
                if index < self._first and index % PER_CPU > 1:
                    continue  # struct kw_walk
                # A new node may be in the copy with its count, and not yet with its address.
                now = _NODE.unpack_from(memory, offset)
                whole = (*now[:3], row[3], row[4], *now[5:])
                found.append((offset, ContextNode._make(whole)))
        return found

    def weights(self) -> Sequence[int]:
        """Return each node's sum of weights, in 1/``WEIGHT_ONE``; with sampling only."""
        return memoryview(self._weights.lookup(bytes(4), self._size * 8) or b"").cast("Q")

    def close(self) -> None:
        """Unmap the tree."""
        self._memory.close()
