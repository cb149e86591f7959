# SPDX-License-Identifier: MIT
"""The tree on weakly ordered machines: the stores of bpf/, in every order, and user space's loads.

The code of bpf/ stops at each of its loads and atomic operations; the differences of the tree's
memory in between are its stores. They become visible in any order that its barriers allow. The
reader is ``Tree.counted``, whose own loads are done in any order around its barrier.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import pytest
from layouts import FP_NEW, V6_12, Layout
from library import ffi, library
from loaded import Loaded
from weak_memory import Choices, Event, Forbidden, Machine, Place, explore
from worlds import Hit, World, tasks

from kwalk.abi import NODE
from kwalk.transport import context_tree as trees
from kwalk.transport.context_tree import NODE_BYTES, ContextNode, Tree

# Members that user space reads. (Of a group hint to rule as well, which is added in the same way.)
MEMBERS = "ip", "parent", "count", "cut", "kind", "source", "delta"
READ = [NODE.fields.index(name) for name in MEMBERS]
COUNT, CUT = NODE.fields.index("count"), NODE.fields.index("cut")
# A bucket's contents while another CPU changes it all the time: empty, or a node that is no match.
CHANGING = 0, 9 * NODE_BYTES


class Interval(NamedTuple):
    """Stores between two stops of a program.

    :ivar barrier: The kind of barrier that it begins with: "take" (a node), "publish" (one), or "".
    :ivar stores: Place, a node's number and a member's, and value.
    """

    barrier: str
    stores: dict[tuple[int, int], int]


class Watched:
    """Programs whose stores to the tree are recorded.

    :param contended: Buckets are never the same for long, so that no node can be linked.
    """

    def __init__(self, loaded: Loaded, contended: bool) -> None:
        self._loaded, self._contended = loaded, contended
        self._state = loaded.cpus[0].state
        self.before = self._nodes()
        self.intervals: list[Interval] = []
        self._last, self._taken, self._barriers = self.before, self._used(), self._passed()

    def _nodes(self) -> list[tuple[Any, ...]]:
        size = 48 * NODE_BYTES
        data = self._loaded.maps["tree"].lookup(bytes(4), size) or b""
        return list(NODE.struct.iter_unpack(data))

    def _used(self) -> bytes | None:
        return self._loaded.maps["nodes_used"].lookup(bytes(4), 8)

    @staticmethod
    def _passed() -> int:
        return int(library().host_barriers)

    def note(self) -> None:
        """Record the stores since the last stop."""
        nodes, used, passed = self._nodes(), self._used(), self._passed()
        stores = {
            (number, member): new[member]
            for number, (old, new) in enumerate(zip(self._last, nodes, strict=True))
            for member in READ
            if old[member] != new[member]
        }
        kind = "" if passed == self._barriers else "publish" if used == self._taken else "take"
        if stores or kind:
            self.intervals.append(Interval(kind, stores))
        self._last, self._taken, self._barriers = nodes, used, passed
        self._state.pause = self._state.tick  # stop at the next one as well
        if self._contended:
            heads = self._loaded.maps["buckets"]
            length = len(heads.lookup(bytes(4), 64 * 4) or b"")
            word = CHANGING[self._state.tick % 2].to_bytes(4, "little")
            ffi.memmove(heads.memory, word * (length // 4), length)

    def run(self, hit: Hit) -> None:
        with self._loaded.pause(0, self.note):
            hit.run(self._loaded)
        self.note()
        self._state.pause = (1 << 64) - 1

    def events(self, without: str) -> list[Event]:
        """Return the stores as events, each behind the barriers before it.

        :param without: A kind of barrier that orders nothing.
        """
        found: list[Event] = []
        before, last = 0, dict[tuple[int, int], int]()
        for barrier, stores in self.intervals:
            if barrier and barrier != without:
                before = (1 << len(found)) - 1
            for place, value in stores.items():
                found.append(Event(before | last.get(place, 0), (place, value)))
                last[place] = 1 << len(found) - 1
        return found


class Memory:
    """The tree's memory as a reader's loads find it, in place of the mapped one."""

    def __init__(self, machine: Machine, nodes: list[tuple[Any, ...]], changing: set[Any]) -> None:
        self._machine, self._nodes, self._changing = machine, nodes, changing

    def __getitem__(self, part: slice) -> list[tuple[Any, ...]]:
        """Return the rows of a copy; every count is any that the loads of the copy can return."""
        places = [place for place in sorted(self._changing) if place[1] in (COUNT, CUT)]
        counts = dict(zip(places, self._machine.load(*places), strict=True))
        rows = []
        for number, node in enumerate(self._nodes):
            pair = tuple(counts.get((number, member), node[member]) for member in (COUNT, CUT))
            rows.append(self.row(number, pair))
        return rows

    def row(self, number: int, counts: tuple[int, ...] = ()) -> tuple[Any, ...]:
        """Return a node's members as ``_NODE`` does, each the oldest that a load could return."""
        members = [
            self._machine.oldest((number, member)) if (number, member) in self._changing else value
            for member, value in enumerate(self._nodes[number])
        ]
        if counts:
            members[COUNT], members[CUT] = counts
        return tuple(trees._STRUCT.unpack(NODE.struct.pack(*members)))  # type: ignore[attr-defined]


class Struct:
    """In place of the struct that unpacks nodes."""

    def iter_unpack(self, copy: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        return iter(copy)

    def unpack_from(self, memory: Memory, offset: int) -> tuple[Any, ...]:
        return memory.row(offset // NODE_BYTES)


def is_same(found: ContextNode, node: ContextNode) -> bool:
    """Whether a node is the one that it is in the end, but for its counts."""
    pairs = ((each.ip, each.parent, each.kind, each.source, each.code) for each in (found, node))
    return len(set(pairs)) == 1


def check(loaded: Loaded, watched: Watched, without: str = "") -> int:
    """Read the tree in every order; return the number of states.

    :param without: The kind of barrier that does nothing, or "acquire".
    """
    events = watched.events(without)
    changing = {event.store[0] for event in events if event.store}
    values: dict[Place, int] = {place: watched.before[place[0]][place[1]] for place in changing}  # type: ignore[index]
    nodes = watched._nodes()
    used = loaded.tree._first + loaded.tree.used
    final = {at * NODE_BYTES: loaded.tree.node(at * NODE_BYTES) for at in range(used)}
    tree: Any = Tree.__new__(Tree)
    tree.__dict__ |= loaded.tree.__dict__

    def run(choices: Choices) -> None:
        machine = Machine(choices, events, values)
        tree._memory = Memory(machine, nodes[:used], changing)
        tree._acquire = machine.acquire if without != "acquire" else lambda: None
        for offset, node in tree.counted():
            at = offset
            while at:
                if not is_same(node, final[at]):
                    raise Forbidden(f"{node} is not {final[at]}")
                at = node.parent
                node = tree.node(at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "_STRUCT", trees._NODE, raising=False)
        patch.setattr(trees, "_NODE", Struct())
        return explore(run)


def grown(layout: Layout, contended: bool) -> tuple[Loaded, Watched]:
    """Return a tree to which a task has added its stack, and counted in it."""
    world = World(layout, Random(4), modules=0, programs=0, plain=True)
    (hit,) = tasks(world, 1, 1)
    loaded = Loaded(world.kernel, func=world.func.start, nodes=200, cpus=1)
    watched = Watched(loaded, contended)
    watched.run(hit)
    return loaded, watched


cases = pytest.mark.parametrize(
    ("layout", "contended"), [(V6_12, False), (FP_NEW, False), (FP_NEW, True)]
)


@cases
def test_node_with_a_count_is_whole_in_every_order(layout: Layout, contended: bool) -> None:
    loaded, watched = grown(layout, contended)
    kinds = [interval.barrier for interval in watched.intervals]
    assert kinds.count("take") == kinds.count("publish") == loaded.tree.used > 1
    assert sum(node.ended for _, node in loaded.tree.counted()) == 1
    assert check(loaded, watched) > 50
    loaded.close()


@cases
@pytest.mark.parametrize("without", ["publish", "acquire"])
def test_node_with_a_count_needs_each_barrier(
    layout: Layout, contended: bool, without: str
) -> None:
    """The program's in front of the count, and the reader's behind it."""
    loaded, watched = grown(layout, contended)
    with pytest.raises(Forbidden):
        check(loaded, watched, without)
    loaded.close()
