# SPDX-License-Identifier: MIT
"""A calling-context tree that the code of bpf/ grows, as tests say, and records of its nodes.

The tree, its groups and all counts are made by bpf/, compiled for this machine (tests/host). Only
numbers that no test can count up to, and states that programs reach in races, are written by hand.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from typing import ClassVar

from library import Cpu, Map, ffi, library

from kwalk.abi import (
    CONFIG,
    DIFFERENCE,
    DIFFERS,
    EVENT,
    KEY,
    KEYS,
    NODE,
    SHORT,
    SHORT_FLAGS,
    TRUNCATED,
    WEIGHT_ONE,
    Mark,
    Method,
    NodeKind,
    Per,
)
from kwalk.transport.context_tree import NODE_BYTES, PER_CPU, Tree, reserved, size_for
from kwalk.transport.ring import HEADER

FUNC = 0xFFFFFFFF81000000
A, B, C, D = (FUNC + 0x100 * number + 0x10 for number in range(1, 5))
UNKNOWN_CALLER = 1
JUMPED_MARK = ~(1 << 63)
_STACKS = 16  # room in the map of the helper's counts
_PARTS = {
    name: struct.calcsize("<" + "".join(NODE.codes[:n])) for n, name in enumerate(NODE.fields)
}
_HITS = _PARTS["sequence"]  # the union's other member


class Planted:
    """The maps of loaded programs. bpf/ has one set of maps: only one of these is open at a time.

    :param cpus: Possible CPUs.
    :param nodes: Frames that there is room for.
    """

    _open: ClassVar[bool] = False

    def __init__(self, cpus: int = 2, nodes: int = 240) -> None:
        assert not Planted._open
        Planted._open = True
        self._lib = library()
        self.cpus = cpus
        self.size = size_for(nodes, cpus)
        size = self.size
        self.maps = {
            "tree": Map("tree", size * NODE_BYTES, 1, cpus, True),
            "buckets": Map("buckets", size * 4, 1, cpus, False),
            "nodes_used": Map("nodes_used", 0, 1, cpus, False),
            "weights": Map("weights", size * 8, 1, cpus, False),
            "counters": Map("counters", 0, 1, cpus, False),
            "scratch": Map("scratch", 0, 1, cpus, False),
            "counted": Map("counted", 0, _STACKS, cpus, False),
        }
        self.map = self.maps.__getitem__  # as of Object
        self.memory = mmap.mmap(self.maps["tree"].fd, size * NODE_BYTES)
        self._config: dict[str, int | bytes] = {
            "nodes": nodes + reserved(cpus),
            "node_mask": (size - 1) * NODE_BYTES,
            "method": Method.MANUAL,
            "sampled": 1,
        }
        self._configure(Per.NOTHING)
        self._cpus = [Cpu(number, 0) for number in range(cpus)]
        self.tree = self.plant()

    def _configure(self, per: Per) -> None:
        size = ffi.new("uint64_t *")
        at = self._lib.host_symbol(b"cfg", size, -1)
        ffi.buffer(at, size[0])[:] = CONFIG.pack(self._config | {"per": per})

    def _run(self, program: str, cpu: int, **ask: int) -> int:
        """Run a program of stand_in/planting.h; return the node that it found."""
        planting = ffi.new("struct host_planting *", ask)
        self._lib.host_run(program.encode(), planting, self._cpus[cpu].state)
        return int(planting.at)

    def _cpu_of(self, offset: int) -> int:
        """The CPU whose tree a node is in."""
        while parent := self.tree.node(offset).parent:
            offset = parent
        return max(offset // (PER_CPU * NODE_BYTES) - 1, 0)

    @property
    def used(self) -> int:
        """Nodes in use, those before the first frame included."""
        return int.from_bytes(self.maps["nodes_used"].lookup(bytes(4), 8) or b"", "little")

    @used.setter
    def used(self, number: int) -> None:
        self.maps["nodes_used"].update(bytes(4), number.to_bytes(8, "little"))

    def plant(self, function: int = FUNC) -> Tree:
        """User space's view of it, its roots at a function; what programs did before stays."""
        used = self.used
        roots = [self.root(cpu) + kernel for cpu in range(self.cpus) for kernel in (0, NODE_BYTES)]
        before = [self.memory[root : root + NODE_BYTES] for root in roots]
        tree = Tree(self, self.cpus, self.size)  # type: ignore[arg-type]
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
        for each in self.maps.values():
            each.close()
        Planted._open = False

    @staticmethod
    def root(cpu: int = 0) -> int:
        """The offset of a CPU's root of what was walked; the next node is that of the kernel's."""
        return (1 + cpu) * PER_CPU * NODE_BYTES

    def write(self, offset: int, **members: int) -> None:
        """Set members of a node."""
        for name, value in members.items():
            at = offset + _PARTS[name]
            struct.pack_into("<" + NODE.codes[NODE.fields.index(name)], self.memory, at, value)

    def take(self, parent: int, ip: int, kind: NodeKind = NodeKind.PLAIN) -> int:
        """Add a node, whether or not there is one like it; return its offset."""
        return self._run("host_take", self._cpu_of(parent), at=parent, ip=ip, kind=kind)

    def child(self, parent: int, ip: int, kind: NodeKind = NodeKind.PLAIN) -> int:
        """Find or add the child of a node."""
        return self._run("host_child", self._cpu_of(parent), at=parent, ip=ip, kind=kind)

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
        self._cpus[cpu].unwinds(*words)
        return self._run("host_kernels", cpu, ip=mark & ((1 << 64) - 1))

    def _task(self, cpu: int, tgid: int, comm: bytes, cgroup: int) -> None:
        self._cpus[cpu].task(tgid, tgid, comm)
        self._cpus[cpu].state.cgroup = cgroup

    def group(
        self, leaf: int, per: Per, tgid: int = 7, comm: bytes = b"redis", cgroup: int = 0
    ) -> int:
        """The node for those events of ``leaf`` that were of a task, on this CPU."""
        cpu = self._cpu_of(leaf)
        self._task(cpu, tgid, comm, cgroup)
        self._configure(per)
        at = self._run("host_group", cpu, at=leaf)
        self._configure(Per.NOTHING)
        assert at != leaf
        return at

    def process(self, leaf: int, tgid: int, comm: bytes = b"redis") -> int:
        """The node for those events of ``leaf`` that were of a process."""
        return self.group(leaf, Per.PID, tgid, comm)

    def count(self, offset: int, ended: int = 0, cut: int = 0, each: float = 1) -> None:
        """Count events at a node, each of which stands for some."""
        cpu, weight = self._cpu_of(offset), round(WEIGHT_ONE * each)
        for times, flags in ((ended, 0), (cut, TRUNCATED)):
            self._run("host_deliver", cpu, at=offset, times=times, flags=flags, weight=weight)

    def count_stack(
        self,
        number: int,
        stack_id: int,
        *,
        node: int = 0,
        cpu: int = 0,
        each: float = 1,
        per: Per = Per.NOTHING,
        tgid: int = 7,
        comm: bytes = b"redis",
        cgroup: int = 0,
    ) -> None:
        """Count events of the helper method."""
        self._task(cpu, tgid, comm, cgroup)
        self._configure(per)
        weight = round(WEIGHT_ONE * each)
        self._run("host_count", cpu, at=node, times=number, stack_id=stack_id, weight=weight)
        self._configure(Per.NOTHING)

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
_keys = itertools.count()


def short(
    node: int,
    flags: int = 0,
    *,
    other: int = 0,
    time_ns: int = 1,
    clock: bytes = b"12:00:00.000000 ",
    cpu: int = 0,
    tgid: int = 7,
    pid: int = 7,
    comm: bytes = b"redis",
    key: int | None = None,
    anew: bool = False,
) -> bytes:
    """The records of a hit of the manual method, each behind its header: a key, then the hit.

    :param key: Which of its CPU's; None: a new one.
    :param anew: The CPU's earlier keys are void.
    """
    key = cpu * KEYS + (next(_keys) % KEYS if key is None else key)
    mark = Mark.KEY | (Mark.ANEW if anew else 0)
    node |= flags & SHORT_FLAGS
    call: dict[str, int | bytes] = {"node": node, "tgid": tgid, "pid": pid, "comm": comm}
    payloads = [KEY.pack({"key": key | mark, **call})]
    if flags & DIFFERS:
        sides = {"mark": Mark.DIFFERENCE, "node": node, "other": other}
        payloads.append(DIFFERENCE.pack(sides))
    payloads.append(SHORT.pack({"key": key, "clock": clock, "time_ns": time_ns}))
    return b"".join(struct.pack("<II", len(each), 0xABCD) + each for each in payloads)
