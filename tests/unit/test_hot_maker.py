# SPDX-License-Identifier: MIT
"""When programs for hot stacks are made, replaced and given up; no kernel takes part."""

from __future__ import annotations

import errno
import math
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from planted import FUNC, A, B, C, D, Planted

from kwalk.abi import CODE, HOT, HOT_ENTRY, HOT_LEAVES, HOT_PROGRAM, NodeKind, Unwinder
from kwalk.arch.hot_frame import HotFrame, HotStart, Unsupported
from kwalk.hot import maker, program
from kwalk.hot.code import StaticFrames
from kwalk.hot.maker import (
    FIRST_SECONDS,
    IN_VAIN,
    MISSES,
    NEXT_SECONDS,
    VAIN_SECONDS,
    HotPrograms,
)
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.libbpf import program as programs
from kwalk.libbpf.program import ProgramKind
from kwalk.model.ledger import HotUse
from kwalk.probe.config import Facts
from kwalk.probe.hot_entry import leaf_at, leaves_bytes
from kwalk.transport.context_tree import HOT_INDEX, NODE_BYTES

SYMBOLS = Kallsyms(
    b"ffffffff81000000 T ip_rcv\nffffffff81000100 T a\nffffffff81000200 T b\n"
    b"ffffffff81000300 T c\nffffffff81000400 T d\nffffffff81000500 T end\n"
    b"ffffffffc0000000 t m\t[mod]\n"
)
ATTACHED = 100.0
ENTRY_FD, TREE_FD, HOT_FD = 50, 51, 52


class World:
    """An attached probe, a clock, and a kernel that loads programs.

    :ivar slots: Programs in the array.
    :ivar made: Trees and starts that programs were generated for, with the order of leaves.
    :ivar refuses: Error number of bpf_prog_load(), or 0.
    :ivar impossible: Addresses that no program can follow.
    :ivar slow: Seconds that it takes to generate a program.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.planted = Planted(cpus=2)
        self.now = ATTACHED
        self.slots: dict[int, int] = {}
        self.made: list[tuple[HotFrame, HotStart]] = []
        self.kinds: list[tuple[ProgramKind, bool]] = []
        self.refuses = 0
        self.impossible: set[int] = set()
        self.slow = 0.0
        self.counts: list[bool] = []
        self.info = struct.pack("I", 26) + bytes(216) + struct.pack("II", 7, 4711) + bytes(28)
        self.leaves = os.memfd_create("leaves")
        os.truncate(self.leaves, leaves_bytes(2))
        fds = {"tree": TREE_FD, "leaves": self.leaves, "hot": HOT_FD}
        obj = SimpleNamespace(
            map=lambda name: SimpleNamespace(
                fd=fds[name], update=self._put, delete=self._clear, name=name
            ),
            program_instructions=lambda name: struct.pack("<BBhi", 0x85, 2 << 4, 0, 70000),
            program_fd=lambda name: ENTRY_FD,
            program_info=lambda name: self.info,
        )
        target = SimpleNamespace(module="")
        facts = Facts(0, 0, b"", Unwinder.ORC, True, 16384, False, 9, 32)
        probe: Any = SimpleNamespace(
            obj=obj,
            tree=self.planted.tree,
            program="kw_fentry_hot",
            attach="fentry",
            attached=ATTACHED,
            unwinder=Unwinder.ORC,
            config={"node_mask": (self.planted.size - 1) * NODE_BYTES, "typed_loads": 1,
                    "code_mask": 0, "stack_padding": 0, "slow": 0, "func": FUNC},
            control={"stack_size": 16384},
            loaded=SimpleNamespace(facts=facts),
            selection=SimpleNamespace(targets=[target]),
        )  # fmt: skip
        self.probe = probe
        monkeypatch.setattr(maker, "possible_cpus", lambda: 2)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(program, "generate", self._generate)
        monkeypatch.setattr(programs, "load", self._load)
        self.hot = HotPrograms(self.probe, SYMBOLS)
        self.sums = [dict.fromkeys(HOT.fields, 0) for _ in range(2)]

    def close(self) -> None:
        self.hot.close()
        self.planted.close()
        os.close(self.leaves)

    def _put(self, key: bytes, value: bytes) -> None:
        self.slots[struct.unpack("I", key)[0]] = struct.unpack("I", value)[0]

    def _clear(self, key: bytes) -> None:
        del self.slots[struct.unpack("I", key)[0]]

    def _generate(
        self, root: HotFrame, start: HotStart, kernel: object, maps: object, counts: bool
    ) -> bytes:
        if any(frame.ip in self.impossible for frame in root.all()):
            raise Unsupported("a test's")
        self.now += self.slow
        self.counts.append(counts)
        self.made.append((root, start))
        self.kernel, self.maps = kernel, maps
        return b"code" * 4

    def _load(self, name: str, code: bytes, kind: ProgramKind, of_module: bool) -> int:
        if self.refuses:
            raise LibbpfError("the kernel refuses program kw_hot", self.refuses, "its log")
        # What a program needs was written before.
        for frame in self.made[-1][0].all():
            if frame.leaf is not None:
                assert any(self.leaf(cpu, frame.leaf) for cpu in (0, 1))
        self.kinds.append((kind, of_module))
        return os.dup(0)

    def leaf(self, cpu: int, number: int) -> int:
        """Return a node in the map of leaves."""
        data = os.pread(self.leaves, 4, leaf_at(cpu, number))
        return int.from_bytes(data, "little")

    def hit(
        self, *addresses: int, number: int = 1, cpu: int = 0, how: str = "unassisted",
        returns: int = FUNC + 9, shift: int = 0, arguments: int = 2,
    ) -> int:  # fmt: skip
        """Hit the probe; ``how``: without a program, missed by it, or taken."""
        leaf = self.planted.walked(*addresses, cpu=cpu)
        self.planted.count(leaf, number)
        row = self.sums[cpu]
        row["hits"] = row.get("hits", 0) + number
        self.planted.hit(row["hits"], cpu)
        if how != "taken":
            row[how] += number
            row |= {"returns": returns, "arguments": arguments, "shift": shift}
        at = self.planted.root(cpu) + HOT_INDEX * NODE_BYTES
        self.planted.memory[at : at + HOT.size] = HOT.pack(
            {
                name: value
                for name, value in row.items()
                if name in HOT.fields and name != "reserved"
            }
        )
        return leaf

    def look(self, at: float | None = None) -> int:
        """Look, when it is due if not at another time; return the number of programs loaded."""
        if math.isinf(self.hot.due):
            return 0
        self.now = self.hot.due if at is None else at
        before = len(self.kinds)
        self.hot.look()
        return len(self.kinds) - before

    def stacks(self) -> set[tuple[int, ...]]:
        """Return the stacks of the last program."""
        found = set()
        waiting: list[tuple[tuple[int, ...], HotFrame]] = [((), self.made[-1][0])]
        while waiting:
            path, frame = waiting.pop()
            if frame.leaf is not None:
                found.add(path)
            waiting += [((*path, caller.ip), caller) for caller in frame.callers]
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.close()


def test_first_look_is_soon_after_attaching(world: World) -> None:
    assert world.hot.due == ATTACHED + FIRST_SECONDS[0]
    world.hit(A, B)
    assert world.look(ATTACHED + FIRST_SECONDS[0] - 0.001) == 0
    assert world.look() == 1
    assert world.slots[HOT_ENTRY] == ENTRY_FD
    assert world.slots[HOT_PROGRAM] > 2


def test_looks_are_further_apart_later(world: World) -> None:
    world.hit(A)
    world.look()
    assert world.hot.due == world.now + FIRST_SECONDS[1]
    for _ in range(3):
        world.hit(A, how="taken")
        world.look()
        assert world.hot.due == world.now + NEXT_SECONDS


def test_look_now_does_not_wait(world: World) -> None:
    world.hit(A)
    world.hot.look(now=True)
    assert len(world.kinds) == 1


def test_looks_that_took_long_are_rare(world: World) -> None:
    world.hit(A)
    world.slow = 0.5
    due = world.hot.due
    world.look()
    assert world.hot.due == due + 20 * 0.5


def test_without_hits_it_looks_again_soon(world: World) -> None:
    for _ in range(3):
        assert world.look() == 0
        assert world.hot.due == world.now + FIRST_SECONDS[0]
    world.hit(A)
    assert world.look() == 1


def test_programs_are_for_the_hottest_stacks_of_all_cpus(world: World) -> None:
    first = world.hit(A, B, number=60)
    second = world.hit(A, B, number=30, cpu=1)
    world.hit(C, number=8)
    world.hit(D, number=2)
    assert world.look() == 1
    assert world.stacks() == {(A, B), (C,)}
    ((root, start),) = world.made
    assert start == HotStart(True, 2, 0, FUNC + 9, FUNC)
    number = root.callers[0].callers[0].leaf
    assert number is not None
    assert [world.leaf(cpu, number) for cpu in (0, 1)] == [first, second]
    assert world.kinds == [(ProgramKind(26, 24, 7, 4711), False)]
    kernel: Any = world.kernel
    assert (kernel.cast, kernel.window, kernel.task_stack, kernel.stack_size) == (
        70000,
        9,
        32,
        16384,
    )
    maps: Any = world.maps
    assert (maps.tree, maps.leaves, maps.hot, maps.cpus) == (TREE_FD, world.leaves, HOT_FD, 2)


def test_functions_without_arguments_get_a_program(world: World) -> None:
    world.hit(A, arguments=0)
    assert world.look() == 1
    assert world.made[-1][1] == HotStart(True, 0, 0, FUNC + 9, FUNC)


def test_start_that_a_walk_has_not_written_yet_is_waited_for(world: World) -> None:
    world.hit(A, arguments=0, returns=0)
    assert world.look() == 0
    assert world.hot.due < math.inf
    world.hit(A, arguments=0)
    assert world.look() == 1


def test_hits_that_go_on_while_the_start_is_read_delay_no_program(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[[int], dict[str, int]] = world.probe.tree.hot

    def busy(cpu: int) -> dict[str, int]:
        world.hit(A, B)
        return read(cpu)

    world.hit(A, B)
    monkeypatch.setattr(world.probe.tree, "hot", busy)
    assert world.look() == 1


def test_start_that_a_walk_is_writing_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[[int], dict[str, int]] = world.probe.tree.hot
    shifts = iter(range(100))

    def changing(cpu: int) -> dict[str, int]:
        return read(cpu) | {"shift": next(shifts)}

    world.hit(A, B)
    with monkeypatch.context() as patched:
        patched.setattr(world.probe.tree, "hot", changing)
        assert world.look() == 0
    world.hit(A, B)
    assert world.look() == 1


def test_programs_that_cannot_load_typed_words_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.probe.config["typed_loads"] = 0
    world.hot.close()
    world.hot = HotPrograms(world.probe, SYMBOLS)
    world.hit(A)
    world.look()
    kernel: Any = world.kernel
    assert kernel.cast == 0
    world.close()


@pytest.mark.parametrize("slow", [0, 1])
def test_programs_count_where_nothing_else_is_to_be_done(world: World, slow: int) -> None:
    world.probe.config["slow"] = slow
    world.hit(A)
    world.look()
    assert world.counts == [not slow]


def test_kprobes_begin_at_registers(world: World) -> None:
    world.probe.attach = "kprobe"
    world.hit(A)
    world.look()
    assert world.made[0][1] == HotStart(False)
    assert world.kinds == [(ProgramKind(26), False)]


def test_functions_of_modules_are_loaded_as_such(world: World) -> None:
    world.probe.selection.targets[0].module = "mod"
    world.hit(A)
    world.look()
    assert world.kinds[0][1]


def test_few_misses_keep_a_program(world: World) -> None:
    world.hit(A)
    world.look()
    world.hit(A, number=95, how="taken")
    world.hit(A, number=5, how="missed", shift=1)
    assert MISSES == 0.05
    assert world.look() == 0
    assert world.hot.use() == HotUse(95, 5, 1, "")


def test_more_misses_make_the_next_program(world: World) -> None:
    world.hit(A)
    world.look()
    world.hit(A, number=94, how="taken")
    world.hit(B, number=6, how="missed")
    assert world.look() == 1
    assert world.stacks() == {(A,), (B,)}
    assert world.hot.use() == HotUse(94, 6, 2, "")


def test_misses_of_stacks_that_are_known_make_none(world: World) -> None:
    """Another CPU has them first now: its node is filled in."""
    world.hit(A)
    world.look()
    leaf = world.hit(A, number=9, cpu=1, how="missed")
    assert world.look() == 0
    assert world.leaf(1, 0) == leaf


def test_another_start_makes_a_program_for_the_same_stacks(world: World) -> None:
    world.hit(A)
    world.look()
    world.hit(A, number=9, how="missed", shift=1)
    assert world.look() == 1
    assert world.made[-1][1] == HotStart(True, 2, 1, FUNC + 9, FUNC)


def test_programs_in_vain_are_left_out_for_a_while(world: World) -> None:
    assert IN_VAIN == 0.5
    world.hit(A)
    world.look()
    loaded = 0
    for number in range(3):
        assert HOT_PROGRAM in world.slots
        world.hit(A, number=4, how="taken")
        world.hit(B + number, number=6, how="missed")
        loaded += world.look()
    assert loaded == 2
    assert HOT_PROGRAM not in world.slots
    assert world.hot.due == world.now + VAIN_SECONDS
    assert world.hot.use().why == "most hits had other stacks than those before"
    world.hit(C, number=5)
    assert world.look() == 1
    assert HOT_PROGRAM in world.slots
    assert world.hot.use().why == ""


def test_start_is_the_one_that_walks_have_met_last(world: World) -> None:
    """As where another program has changed the trampoline; a CPU at rest does not know."""
    world.hit(A, number=100, cpu=0)
    assert world.look() == 1
    world.hit(B, number=3, cpu=1, how="missed", returns=FUNC + 9, shift=1)
    world.look()
    assert world.made[-1][1].shift == 1


def test_program_is_not_loaded_again_once_there_is_no_room_for_stacks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "HOT_LEAVES", 1)
    world.hit(A, number=10)
    assert world.look() == 1
    for _ in range(3):
        world.hit(A, number=5, how="taken")
        world.hit(B, number=2, how="missed")
        assert world.look() == 0


def test_kernel_without_a_type_for_words_has_no_programs(world: World) -> None:
    world.probe.loaded.facts = world.probe.loaded.facts._replace(window=0)
    world.hot.close()
    world.hot = HotPrograms(world.probe, SYMBOLS)
    world.hit(A)
    assert world.look() == 0
    assert "no type" in world.hot.use().why


def test_programs_that_are_of_use_again_are_kept(world: World) -> None:
    world.hit(A)
    world.look()
    for number in range(4):
        for _ in range(2):
            world.hit(B + number, number=6, how="missed")
            world.look()
        world.hit(A, number=100, how="taken")
        world.look()
    assert HOT_PROGRAM in world.slots
    assert world.hot.use().why == ""


def test_refusals_of_the_kernel_end_it(world: World) -> None:
    world.hit(A)
    world.refuses = errno.EACCES
    assert world.look() == 0
    assert world.hot.due == math.inf
    assert world.slots == {}
    use = world.hot.use()
    assert use.programs == 0
    assert use.why.startswith("the kernel refuses program kw_hot: ")


def test_later_refusals_take_the_program_out(world: World) -> None:
    world.hit(A)
    world.look()
    world.refuses = errno.ENOMEM
    world.hit(B, number=9, how="missed")
    assert world.look() == 0
    assert HOT_PROGRAM not in world.slots
    assert world.hot.due == math.inf
    assert world.hot.use().programs == 1


def test_kernels_that_do_not_tell_the_kind_end_it(world: World) -> None:
    world.info = world.info[:64]
    world.hit(A)
    assert world.look() == 0
    assert world.hot.due == math.inf
    assert "does not tell what a program attaches to" in world.hot.use().why


def test_stacks_that_cannot_be_followed_are_left_out(world: World) -> None:
    world.impossible = {B}
    world.hit(A, number=50)
    world.hit(C, B, number=50)
    assert world.look() == 1
    assert world.stacks() == {(A,)}
    # They are not tried again, nor do they count for the share.
    world.hit(C, B, number=50, how="missed")
    world.hit(D, number=60, how="missed")
    tried = len(world.made)
    assert world.look() == 1
    assert len(world.made) == tried + 1
    assert world.stacks() == {(D,)}


def test_no_program_is_made_where_most_stacks_cannot_be_followed(world: World) -> None:
    """All hits would pay for a program that knows a few."""
    world.impossible = {B}
    world.hit(A, number=30)
    world.hit(C, B, number=70)
    assert world.look() == 0
    assert world.slots == {}
    assert world.hot.due == world.now + VAIN_SECONDS
    assert world.hot.use().why == "most hits have stacks that no program can follow"


def test_stacks_that_one_program_cannot_hold_together_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = program.generate

    def generate(root: HotFrame, *others: Any) -> bytes:
        if {A, B} <= {frame.ip for frame in root.all()}:
            raise Unsupported("these two")
        return real(root, *others)

    monkeypatch.setattr(program, "generate", generate)
    world.hit(A, number=60)
    world.hit(B, number=30)
    world.hit(C, number=10)
    assert world.look() == 1
    assert world.stacks() == {(A,), (C,)}
    # Each is possible by itself.
    world.hit(B, number=90, how="missed")
    assert world.look() == 1
    assert world.stacks() == {(B,)}


def test_no_program_is_loaded_for_no_stack(world: World) -> None:
    world.impossible = {A}
    world.hit(A)
    assert world.look() == 0
    assert world.slots == {}
    assert world.hot.due == world.now + VAIN_SECONDS
    assert world.hot.use().why == "no program can follow these stacks: a test's"


def test_no_stack_that_can_be_followed_says_why_in_a_trial(world: World) -> None:
    world.impossible = {A, B}
    world.hit(C, A, number=3)
    world.hit(D, B, number=2)
    world.hot.look(now=True)
    assert world.slots == {}
    assert world.hot.use().why == "no program can follow these stacks: a test's"


def test_numbers_of_stacks_may_run_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HOT_LEAVES == 1024
    monkeypatch.setattr(maker, "HOT_LEAVES", 2)
    world.hit(A, number=4)
    world.hit(B, number=3)
    world.hit(C, number=2)
    assert world.look() == 1
    assert world.stacks() == {(A,), (B,)}
    world.hit(D, number=100, how="missed")
    assert world.look() == 0
    assert HOT_PROGRAM in world.slots


def test_stop_ends_the_looks(world: World) -> None:
    world.hot.stop()
    world.hit(A)
    world.now += 1000
    world.hot.look()
    assert world.kinds == []


def test_interrupted_frames_make_other_stacks(world: World) -> None:
    world.planted.write(world.planted.walked(A, B), kind=int(NodeKind.STALE))
    world.hit(A, number=1)
    world.look()
    assert world.stacks() == {(A,)}


def test_memory_of_leaves_is_freed(world: World) -> None:
    world.hot.close()
    with pytest.raises(ValueError, match="closed"):
        world.hot._leaves[0]
    world.hot._leaves = mmap.mmap(-1, 4096)


class Codes:
    """An object whose program reads code."""

    def __init__(self, code: bytes, fails: bool = False) -> None:
        self.code, self.fails = code, fails
        self.read: list[tuple[int, int]] = []
        self.map = lambda name: SimpleNamespace(lookup=lambda key, size: self.code.ljust(size))

    def run(self, program: str, context: bytes) -> tuple[int, bytes]:
        assert program == "kw_code"
        members = CODE.unpack(context)
        self.read.append((members["address"], members["size"]))
        return (-1 if self.fails else 0), context


STATIC = bytes.fromhex("55 48 89 e5 e8 00 00 00 00 c9 c3")


def test_static_frames_are_found_by_their_functions_code() -> None:
    codes: Any = Codes(STATIC)
    static = StaticFrames(codes, SYMBOLS)
    assert static(A)
    assert not static(FUNC + 0x102)  # before the prologue's end
    assert static(FUNC + 0x200)  # behind a call at its very end
    assert codes.read == [(FUNC + 0x100, 0x100)]
    assert static(B)
    assert codes.read[1:] == [(FUNC + 0x200, 0x100)]


def test_frames_are_dynamic_where_code_cannot_be_read() -> None:
    codes: Any = Codes(STATIC, fails=True)
    assert not StaticFrames(codes, SYMBOLS)(A)


def test_frames_of_modules_and_of_nothing_are_dynamic() -> None:
    codes: Any = Codes(STATIC)
    static = StaticFrames(codes, SYMBOLS)
    assert not static(0xFFFFFFFFC0000010)
    assert not static(0x1000)
    assert codes.read == []


def test_code_that_is_too_long_is_dynamic() -> None:
    codes: Any = Codes(STATIC)
    symbols = Kallsyms(b"ffffffff81000000 T a\nffffffff81100000 T b\n")
    assert not StaticFrames(codes, symbols)(FUNC + 16)
    assert codes.read == []
