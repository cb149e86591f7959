# SPDX-License-Identifier: MIT
"""The calling-context tree: its memory is mapped and read while programs write it.

A node is written by one CPU only, and is complete before anything is counted in it; it never moves
and never becomes another frame's. So whoever sees a count sees, on a second look at the latest,
the whole node; its parent was complete before it was made.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

from kwalk.abi import NO_ADDRESS, NODE, NodeKind, Source
from kwalk.libbpf.object import Object

NODE_BYTES = NODE.size
# As many nodes lie ahead of the first frame for each CPU (struct kw_cpu), the first two its roots;
# as many again before them, of which the first is node 0.
PER_CPU = 8
# The members of struct kw_node that readers want; the 16 bytes at 8 are a group's value.
_NODE = struct.Struct("<Q16sI4xQQ8xBB6x")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_CHANCE = struct.calcsize("<" + "".join(NODE.codes[: NODE.fields.index("rule")]))  # kw_chance()


def reserved(cpus: int) -> int:
    """Return the index of the first node for a frame."""
    return PER_CPU * (1 + cpus)


def size_for(nodes: int, cpus: int) -> int:
    """Return how many nodes the map must have for ``nodes`` frames: a power of two."""
    return 1 << (nodes + reserved(cpus) - 1).bit_length()


class ContextNode(NamedTuple):
    """A frame in its context, or a group of events under it.

    :ivar ip: The frame's address; of a group ``NO_ADDRESS`` and the process or CPU.
    :ivar value: Of a group: its name, or the number of a cgroup.
    :ivar parent: The parent's offset; 0 for a root.
    :ivar ended: Events whose stack ends here.
    :ivar cut: Events whose stack goes on, but could not be followed.
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
        """Which of the codes that come and go it is a frame of (``Stack.codes``)."""
        if self.source not in (Source.MODULE, Source.BPF):
            return 0
        known: int = _U32.unpack_from(self.value, 8)[0]
        return known and self.source << 32 | known


class Tree:
    """The mapped tree of a loaded object.

    :param cpus: Possible CPUs; each has a root for what was walked, and one for the kernel's own
        stacks.
    :param size: Nodes in the map, a power of two.
    """

    def __init__(self, obj: Object, cpus: int, size: int) -> None:
        self._first = reserved(cpus)
        self._used = obj.map("nodes_used")
        self._weights = obj.map("weights")
        self._size = size
        fd = obj.map("tree").fd
        length = -(-size * NODE_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def plant(self, function: int) -> None:
        """Make the roots, before the program is attached.

        :param function: Address of the traced instruction; ``NO_ADDRESS`` where there are many.
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
        """Indices of the roots of what was walked; those of the kernel's stacks come next."""
        return range(PER_CPU, self._first, PER_CPU)

    @property
    def used(self) -> int:
        """Nodes that hold a frame or a group."""
        data = self._used.lookup(bytes(4), 8) or bytes(8)
        return int(min(_U64.unpack(data)[0], self._size)) - self._first

    @staticmethod
    def is_kernels(root: int) -> bool:
        """Whether a root's stacks are those of the kernel's own unwinder."""
        return root // NODE_BYTES % PER_CPU == 1

    def sample(self, chance: float) -> None:
        """Have events taken with this chance from now on, where only some are to be."""
        below = min(max(round(chance * (1 << 32)) - 1, 0), (1 << 32) - 1)
        _U32.pack_into(self._memory, _CHANCE, below)

    def hits(self) -> int:
        """Return how many events the program was to take."""
        return self._hits(self._roots())

    def sampled_out(self) -> int:
        """Return how many of these events were left alone."""
        return self._hits(range(PER_CPU + 1, self._first, PER_CPU))

    def _hits(self, roots: range) -> int:
        hits = NODE.fields.index("sequence")
        total = 0
        for index in roots:
            members = NODE.struct.unpack_from(self._memory, index * NODE_BYTES)
            total += members[hits] | (members[hits + 1] & 0xFFFFFFFF) << 32
        return total

    def node(self, offset: int) -> ContextNode:
        """Return the node at ``offset`` bytes."""
        return ContextNode._make(_NODE.unpack_from(self._memory, offset))

    def counted(self) -> list[tuple[int, ContextNode]]:
        """Return the nodes in which something was counted, each with its offset, roots included."""
        data = self._memory[: (self._first + self.used) * NODE_BYTES]
        found = []
        for index, row in enumerate(_NODE.iter_unpack(data)):
            if row[3] or row[4]:
                offset = index * NODE_BYTES
                if index < self._first and index % PER_CPU > 1:
                    continue  # the state of a walk
                # The copy was made while programs ran: a new node may be whole only now.
                found.append((offset, ContextNode._make(row) if row[5] else self.node(offset)))
        return found

    def weights(self) -> Sequence[int]:
        """Return for each node what its events stand for, in parts of ``WEIGHT_ONE``.

        Only where events are sampled, which the map was made for.
        """
        return memoryview(self._weights.lookup(bytes(4), self._size * 8) or b"").cast("Q")

    def close(self) -> None:
        """Unmap the tree."""
        self._memory.close()
