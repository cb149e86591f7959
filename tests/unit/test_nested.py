# SPDX-License-Identifier: MIT
"""Programs for nested hits: when they are attached, what they took, what the ledger says of it."""

from __future__ import annotations

import math
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import (
    ACTIVE,
    ACTIVES_SECTION,
    CALLS_BYTES,
    CONFIG,
    CONFIG_SECTION,
    CONTROL_SECTION,
    DIGITS_SECTION,
    GATES_SECTION,
    LEVELS,
    PROCESSES_SECTION,
    THREADS_SECTION,
    Method,
    Output,
)
from kwalk.errors import KwalkError, NotSupported
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.preemption import preempts
from kwalk.probe import beside, nested, nested_level
from kwalk.probe.nested import NestedPrograms
from kwalk.probe.nested_level import NestedLevel
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

SYMBOLS = Kallsyms(
    b"ffffffff81000000 T ip_rcv\nffffffff81000100 T kmem_cache_free\n"
    b"ffffffff82000000 D __per_cpu_offset\nffffffff82000100 D preempt_dynamic_mode\n"
)


class Kernel:
    """Programs of all levels, and what the kernel counts of them.

    :ivar misses: Hits that it refused to level 0.
    :ivar taken: Hits that each level took.
    :ivar mode: ``preempt_dynamic_mode``.
    :ivar done: What was done, in order.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.misses = 0
        self.taken = [0] * LEVELS
        self.mode = 1
        self.refuses = ""
        self.done: list[str] = []
        self.loaded: Any = SimpleNamespace(
            hot=False,
            obj=None,
            tree=SimpleNamespace(hits_of=self.taken.__getitem__),
            gates=SimpleNamespace(filtered_by=lambda level: 0),
        )

    def level(self, base: Any, way: str, target: Target, symbols: Any, below: Any) -> Any:
        number = 1 + len(below)
        if self.refuses == "load":
            raise KwalkError("no such luck")

        def attach() -> None:
            if self.refuses == "attach":
                raise KwalkError("no room in the trampoline")
            self.done.append(f"attach {number}")

        obj = SimpleNamespace(
            detach=lambda: self.done.append(f"detach {number}"),
            close=lambda: self.done.append(f"close {number}"),
        )
        memory = lambda address, size: self.mode.to_bytes(size, "little")  # noqa: E731
        return SimpleNamespace(level=number, obj=obj, attach=attach, memory=memory)

    def programs(self, name: str = "ip_rcv") -> NestedPrograms:
        selection = Selection.one(Target(name, SYMBOLS.address(name), ""))
        found = NestedPrograms.of(self.loaded, "fentry", selection, SYMBOLS, Method.MANUAL)
        assert found
        return found

    def look(self, programs: NestedPrograms, seconds: float = 1.0) -> None:
        self.now += seconds
        programs.look()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(nested, "NestedLevel", found.level)
    monkeypatch.setattr(
        nested, "kernel_misses", lambda obj, program, link: {"recursion": found.misses}
    )
    monkeypatch.setattr("kwalk.probe.nested.time.monotonic", lambda: found.now)
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(version="#1 SMP PREEMPT_DYNAMIC"))
    return found


@pytest.mark.parametrize(
    ("way", "method"),
    [("kprobe", Method.MANUAL), ("fentry", Method.HELPER), ("fentry", Method.BOTH)],
)
def test_other_probes_have_none(kernel: Kernel, way: str, method: Method) -> None:
    selection = Selection.one(Target("ip_rcv", 1, ""))
    assert NestedPrograms.of(kernel.loaded, way, selection, SYMBOLS, method) is None


def test_nothing_is_attached_without_nested_hits(kernel: Kernel) -> None:
    programs = kernel.programs()
    programs.begin()
    for _ in range(5):
        kernel.look(programs)
    assert kernel.done == []
    assert programs.use() is None
    assert programs.lost(0) == 0
    assert programs.uncounted() == ""


def test_level_is_attached_when_a_hit_was_refused(kernel: Kernel) -> None:
    programs = kernel.programs()
    assert programs.due == pytest.approx(100.1)
    kernel.misses = 3
    kernel.look(programs, 0.05)  # too early
    assert kernel.done == []
    kernel.look(programs, 0.06)
    assert kernel.done == ["attach 1"]
    kernel.misses, kernel.taken[1] = 10, 7
    kernel.look(programs)
    assert kernel.done == ["attach 1"], "those refused before it was attached are no reason"
    kernel.misses += 1
    kernel.look(programs)
    assert kernel.done == ["attach 1", "attach 2"]
    kernel.misses += 5
    kernel.look(programs)
    assert programs.due == math.inf, "there are no more levels"
    kernel.taken[2] = 4
    assert programs.lost(16) == 16 - 7 - 4
    use = programs.use()
    assert use
    assert (use.taken, use.programs, use.twice, use.why) == (11, 2, 0, "")


def test_level_is_attached_first_where_nested_hits_are_likely(kernel: Kernel) -> None:
    programs = kernel.programs("kmem_cache_free")
    programs.begin()
    assert kernel.done == ["attach 1"]
    kernel.taken[1] = 4
    assert programs.lost(4) == 0
    use = programs.use()
    assert use
    assert use.taken == 4


def test_hits_lost_before_are_lost_whatever_is_counted_twice(kernel: Kernel) -> None:
    kernel.mode = 2
    programs = kernel.programs()
    kernel.misses = 3
    kernel.look(programs)
    kernel.taken[1] = 12
    assert programs.lost(3 + 10) == 3
    use = programs.use()
    assert use
    assert use.twice == 2
    assert programs.uncounted().startswith("this kernel preempts programs")


def test_kernel_that_does_not_preempt_counts_nothing_twice(kernel: Kernel) -> None:
    """While level 0 is detached, a level can take a hit that level 0 was not refused."""
    programs = kernel.programs("kmem_cache_free")
    programs.begin()
    kernel.taken[1] = 5
    assert programs.lost(4) == 0
    use = programs.use()
    assert use
    assert use.twice == 0
    assert programs.uncounted() == ""


@pytest.mark.parametrize("refused", ["load", "attach"])
def test_refused_level_is_told_and_not_tried_again(kernel: Kernel, refused: str) -> None:
    kernel.refuses = refused
    programs = kernel.programs()
    kernel.misses = 1
    kernel.look(programs)
    kernel.look(programs)
    use = programs.use()
    assert use
    assert use.why in ("no such luck", "no room in the trampoline")
    assert kernel.done == (["close 1"] if refused == "attach" else [])
    assert programs.lost(1) == 1


def test_trial_attaches_one_level_and_tells_why_not(kernel: Kernel) -> None:
    programs = kernel.programs()
    assert programs.trial() == programs.trial() == ""
    assert kernel.done == ["attach 1"]
    kernel.refuses = "load"
    assert kernel.programs().trial() == "no such luck"


def test_levels_are_followed_detached_and_closed(kernel: Kernel) -> None:
    programs = kernel.programs("kmem_cache_free")
    programs.begin()
    seen: list[Any] = []
    programs.follow(seen.append)
    assert len(seen) == 1
    kernel.misses = 1
    kernel.look(programs)
    assert len(seen) == 2
    programs.detach()
    assert kernel.done[2:] == ["detach 1", "detach 2"]
    programs.close()
    assert kernel.done[-2:] == ["close 2", "close 1"]


@pytest.mark.parametrize(
    ("version", "mode", "expected"),
    [
        ("#1 SMP Debian 6.1", None, False),
        ("#1 SMP PREEMPT_DYNAMIC Debian", 0, False),
        ("#1 SMP PREEMPT_DYNAMIC Debian", 1, False),
        ("#1 SMP PREEMPT_DYNAMIC Debian", 2, True),
        ("#1 SMP PREEMPT_DYNAMIC Debian", 3, True),
        ("#1 SMP PREEMPT_DYNAMIC Debian", None, True),
        ("#1 SMP PREEMPT Debian", None, True),
        ("#1 SMP PREEMPT_RT Debian", None, True),
        ("#1 SMP PREEMPT_LAZY Debian", None, True),
    ],
)
def test_kernel_that_preempts_is_known(version: str, mode: int | None, expected: bool) -> None:
    assert preempts(mode, version) is expected


class Object:
    """A second object: what it is told before and after loading."""

    def __init__(self, image: bytes) -> None:
        self.reused: list[str] = []
        self.left_out: list[str] = []
        self.config = self.actives = b""
        self.mapped: list[str] = []
        self.sizes: dict[str, int] = {}
        self.open = True

    def map(self, name: str) -> Any:
        def initial(data: bytes) -> None:
            assert name == CONFIG_SECTION
            self.config = data

        def update(key: bytes, data: bytes) -> None:
            assert name == ACTIVES_SECTION
            self.actives = data

        offsets = struct.pack("<4Q", 0, 0x1000, 0x2000, 0x3000)
        return SimpleNamespace(
            reuse=lambda other: self.reused.append(name),
            set_autocreate=lambda wanted: self.left_out.append(name),
            resize=lambda max_entries: self.sizes.update({name: max_entries}),
            set_mmapable=lambda: self.mapped.append(name),
            set_initial_value=initial,
            update=update,
            lookup=lambda key, size: offsets.ljust(CALLS_BYTES, b"\0"),
            fd=-1,
        )

    def set_autoload(self, wanted: dict[str, str | None]) -> None:
        assert wanted["kw_fentry_nested"] == "ip_rcv"

    def load(self) -> None:
        pass

    def program_info(self, name: str) -> bytes:
        return struct.pack("<II", 26, 78)

    def iterate(self, name: str) -> bytes:
        rows = [(5, 0x10), (77, 0x40), (78, 0x80)]
        return b"".join(ACTIVE.pack({"id": number, "active": at}) for number, at in rows)

    def run(self, name: str, context: bytes) -> tuple[int, bytes]:
        return 0, context

    def close(self) -> None:
        self.open = False


class Base:
    """Level 0, as a level above sees it."""

    def __init__(self, **sections: bool) -> None:
        self.hot = False
        self.sections = {GATES_SECTION: False, PROCESSES_SECTION: False, **sections}
        self.added: list[Any] = []
        self.gates = SimpleNamespace(add=self.added.append)
        self.config = {"func": 5, "nodes": 9, "output": Output.COUNT, "method": Method.MANUAL}
        config = CONFIG.pack(self.config)
        self.obj = SimpleNamespace(
            program_info=lambda name: struct.pack("<II", 26, 77),
            map=lambda name: SimpleNamespace(lookup=lambda key, size: config),
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Object]:
    found: list[Object] = []

    def make(image: bytes) -> Object:
        found.append(Object(image))
        return found[-1]

    monkeypatch.setattr(beside, "Object", make)
    monkeypatch.setattr(beside, "image", lambda: b"")
    for module in (beside, nested_level):
        monkeypatch.setattr(module, "possible_cpus", lambda: 4)
    return found


TARGET = Target("ip_rcv", 0xFFFFFFFF81000000, "")


def level_of(base: Any, *below: NestedLevel) -> NestedLevel:
    return NestedLevel(base, "fentry", TARGET, SYMBOLS, below)


def test_levels_share_the_tree_and_no_value_that_a_nested_run_would_spoil(
    made: list[Object],
) -> None:
    level_of(Base())
    (obj,) = made
    assert {"tree", "buckets", "nodes_used", "weights", "events"} <= set(obj.reused)
    assert {CONTROL_SECTION, DIGITS_SECTION} <= set(obj.reused)
    own = {"scratch", "counters", "keys", CONFIG_SECTION, GATES_SECTION}
    assert own.isdisjoint(obj.reused)
    assert {"hot", "leaves", GATES_SECTION, PROCESSES_SECTION} <= set(obj.left_out)
    assert {"scratch", "counters", "keys"}.isdisjoint(obj.left_out)
    assert obj.sizes == {"keys": 1}
    base = Base()
    base.config["output"] = Output.EVENT
    level_of(base)
    assert made[1].sizes == {}


def test_levels_share_what_filters_ask_for_and_count_by_themselves(made: list[Object]) -> None:
    base = Base(**{GATES_SECTION: True, PROCESSES_SECTION: True, THREADS_SECTION: False})
    level_of(base)
    (obj,) = made
    assert PROCESSES_SECTION in obj.reused
    assert THREADS_SECTION in obj.left_out
    assert obj.mapped == [GATES_SECTION]
    assert len(base.added) == 1


def test_level_has_parts_of_its_own_and_knows_the_flags_of_those_below(
    made: list[Object],
) -> None:
    base = Base()
    first = level_of(base)
    flags = struct.unpack("<16384Q", made[0].actives)
    assert flags[:8] == (0x40, 0, 0x1040, 0, 0x2040, 0, 0x3040, 0)
    assert not any(flags[8:])
    assert CONFIG.unpack(made[0].config)["first_part"] == 4
    assert CONFIG.unpack(made[0].config)["nodes"] == 9
    assert level_of(base, first).level == 2
    assert CONFIG.unpack(made[1].config)["first_part"] == 8
    assert struct.unpack_from("<2Q", made[1].actives, 3 * 16) == (0x3040, 0x3080)


@pytest.mark.parametrize("missing", ["program", "offsets"])
def test_level_whose_flags_are_not_found_is_refused(
    made: list[Object], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "program":
        monkeypatch.setattr(Object, "iterate", lambda self, name: b"")
    else:
        monkeypatch.setattr(Object, "run", lambda self, name, context: (-1, context))
    with pytest.raises(NotSupported):
        level_of(Base())
    assert not made[0].open
