# SPDX-License-Identifier: MIT
"""Synthetic kernels with code and stacks, and the results of programs on them."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from built import X86
from hypothesis import strategies as st
from kernel import Kernel
from layouts import Layout
from loaded import Loaded
from machine import Body, Execution, copies, make
from objects import SLOTS
from x86.rules import FRAME, Orc

from kwalk.abi import NO_ADDRESS, Per
from kwalk.decode.contexts import Contexts
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.model.stack import Group, Stack

# random.Random, since a choice of hypothesis' costs more than a walk.
RANDOMS = st.builds(Random, st.integers(0, (1 << 32) - 1))


class World:
    """A kernel with functions of every kind.

    :param static: Share of functions whose frames always have the same size (``Body.static``).
    :ivar func: The traced function.
    """

    def __init__(
        self,
        layout: Layout,
        random: Random,
        *,
        lookup: bool = True,
        modules: int = 2,
        programs: int = 2,
        without: frozenset[str] = frozenset(),
        functions: int = 0,
        odd: Orc | None = None,
        slots: int = 1,
        bare_module: bool = False,
        part: str = "",
        plain: bool = False,
        static: float = 0.0,
    ) -> None:
        self.random = random
        self.static = static
        self.kernel = kernel = Kernel(layout, lookup=lookup, without=without)
        if not X86:
            kernel.code_mask = random.choice((0xFFFF800000000000, 0xFFFF800000000000, 0))
        text = kernel.text
        gap = random.choice((0, 0, 5, 300))
        # Entry code of interrupts and system calls.
        straight = layout.frame_pointers  # right below the registers: is_last_task_frame()
        room = 0 if straight else random.randint(0, 2)
        self.syscall = make(text, "entry", room=room, gap=gap)
        self.interrupt = make(text, "entry", room=random.randint(0, 3), signal=True)
        kernel.symbols |= {"entry_start": self.syscall.start, "entry_end": self.interrupt.end}
        self.nmi = make(text, "entry", room=random.randint(0, 1), signal=True)
        if X86:
            kernel.symbols |= {"nmi_start": self.nmi.start, "nmi_end": self.nmi.end + 1}
        else:  # entry code like any other's
            kernel.symbols["entry_end"] = self.nmi.end
        self.thread = make(text, "end")
        self.unknown = make(text, "unknown")
        for name in ("rethook", "graph_return"):
            kernel.symbols[name] = make(text, "sp", size=64, gap=16).start
        self.ftrace = make(text, "sp", saves=True, room=2)
        self.ftrace_regs = make(text, "sp", saves=True, room=random.randint(15, 22))
        kernel.symbols |= {
            "ftrace_caller": self.ftrace.start,
            "ftrace_regs_caller": self.ftrace_regs.start,
        }
        kinds = "bp" if layout.frame_pointers else "sp sp bp aligned"
        if plain and not layout.frame_pointers:
            kinds = "sp"
        number = functions or random.randint(4, 8)
        self.functions = [self._function(text, kinds) for _ in range(number)]
        if functions:
            self._special(odd or FRAME)
        # It switches stacks; by ORC such a function has a frame of a fixed size.
        self.static = 0
        self.switching = self._function(text, "bp" if layout.frame_pointers else "sp")
        self.static = static
        self.func = self._function(text, kinds)
        self.init = self._function(kernel.init_text, kinds)
        self.modular: list[Body] = []
        for number in range(modules):
            module = kernel.add_module(f"mod{number}", 1000 + number)
            self.modular += [self._function(module.text, kinds) for _ in range(2)]
        if bare_module:
            module = kernel.add_module("bare", 999)
            self.bare = make(module.text, "bp")
            module.text.functions.clear()
        self.bpf: list[Body] = []
        for number in range(programs):
            program = kernel.add_program(f"bpf_prog_{number}", size=96)
            self.bpf.append(make(program.text, "bp", room=1))
        self.copies = [] if plain else copies(kernel, [self.ftrace, self.ftrace_regs])
        kernel.slots = [SLOTS + 0x1000 * number for number in range(slots)]
        if part:
            kernel.part = part
        kernel.write_tables()

    def _special(self, odd: Orc) -> None:
        """Add a function of each kind, and rare ones."""
        text = self.kernel.text
        self.framed = make(text, "bp", room=2)
        if self.kernel.layout.frame_pointers:
            return
        self.aligned = make(text, "aligned", room=2)
        spans = {name: Orc("call", name, 0) for name in ("r13", "di", "dx")}
        self.by_register = {
            name: Body(text.add([(0, rule)], 96), "rare") for name, rule in spans.items()
        }
        self.odd = Body(text.add([(0, odd)], 96), "rare")

    def _function(self, text: object, kinds: str) -> Body:
        random = self.random
        return make(
            text,  # type: ignore[arg-type]
            random.choice(kinds.split()),
            saves=random.random() < 0.5,
            above=random.randint(0, 2),
            room=random.randint(0, 4),
            size=random.choice((96, 128, 300)),
            gap=random.choice((0, 0, 0, 16)),
            static=bool(self.static) and random.random() < self.static,
        )

    def any_function(self) -> Body:
        """Choose a function of the kernel, a module, BPF or ftrace, or one freed after boot."""
        pools = [self.functions] * 4 + [self.modular, self.bpf, self.copies, [self.init]]
        return self.random.choice(self.random.choice([pool for pool in pools if pool]))

    def bp_is_free(self, execution: Execution) -> bool:
        """Return whether BP may be overwritten, since the last function saved it."""
        caller = execution.callers[0]
        last = [b for b in self.functions if b.start < caller <= b.end]
        return bool(last) and last[0].kind == "sp" and last[0].saves

    def is_complete(self, address: int) -> bool:
        """Return whether its function's frame is complete at an address."""
        bodies = [*self.functions, *self.modular, self.init, *self.bpf, *self.copies]
        return any(body.is_complete(address) for body in bodies)

    def begin(self, task: int = 0) -> Execution:
        """Begin a task's stack with its outermost frame."""
        execution = Execution(self.kernel, self.random, task or self.kernel.task)
        if self.random.random() < 0.7:
            execution.from_user(self.syscall)
        else:
            execution.from_thread(self.thread)
        execution.call(self.random.choice(self.functions))
        return execution

    def go(self, execution: Execution, calls: int) -> None:
        """Make some calls."""
        for _ in range(calls):
            execution.call(self.any_function())

    def through(self, *bodies: Body) -> Execution:
        """Return an execution that calls FUNC through these functions."""
        execution = self.begin()
        for body in bodies:
            execution.call(body)
        execution.call(self.func, prologue=False)
        return execution

    def stacked(self, calls: int = 6) -> Execution:
        """Return an execution up to the call of FUNC, maybe through an interrupt and an NMI."""
        random = self.random
        execution = self.begin()
        self.go(execution, random.randint(0, calls))
        kind = random.random()
        if kind < 0.2:  # softirqs run on a stack of their own, too
            execution.call(self.switching)
            execution.switch_stack()
            self.go(execution, random.randint(1, calls))
        elif kind < 0.6:
            execution.interrupt(self.interrupt)
            execution.call(self.switching)
            if random.random() < 0.6:
                execution.switch_stack()
            self.go(execution, random.randint(1, calls))
        if random.random() < 0.3:
            execution.interrupt(self.nmi, nmi=True)
            self.go(execution, random.randint(1, calls))
        execution.call(self.func, prologue=False)
        return execution


def walked(world: World, execution: Execution) -> dict[tuple[tuple[int, ...], str], int]:
    """Return the counts after two hits of a kprobe on FUNC."""
    loaded = Loaded(world.kernel, func=world.func.start)
    for _ in range(2):
        loaded.run("kw_kprobe", execution.regs(world.func.start))
    assert loaded.tree.hits() == 2
    found = Reader(loaded).counts()
    loaded.close()
    return found


class Hit(NamedTuple):
    """A task that has just called FUNC."""

    regs: bytes
    callers: tuple[int, ...]
    task: int

    def run(self, loaded: Loaded, cpu: int = 0, program: str = "kw_kprobe") -> None:
        """Hit the probe on FUNC."""
        loaded.cpus[cpu].state.task = self.task
        loaded.run(program, self.regs, cpu)


def tasks(world: World, number: int, calls: int = 3) -> list[Hit]:
    """Return tasks, each with a stack of its own."""
    found = []
    for _ in range(number):
        task = world.kernel.new_task()
        execution = world.begin(task)
        world.go(execution, calls)
        execution.call(world.func, prologue=False)
        found.append(Hit(execution.regs(world.func.start), tuple(execution.callers), task))
    return found


def lost_hit(world: World) -> Hit:
    """Return a hit with a replaced return address in no list, so that the walk falls back."""
    task = world.kernel.new_task()
    execution = world.begin(task)
    slot = execution.call(world.functions[0])
    execution.call(world.func, prologue=False)
    execution.replace(slot, world.kernel.symbols["rethook"])
    return Hit(execution.regs(world.func.start), tuple(execution.callers), task)


class Reader:
    """User space's view of the programs' counts."""

    def __init__(self, loaded: Loaded, per: Per = Per.NOTHING, **shape: bool) -> None:
        self.loaded = loaded
        func = int(loaded.config.get("func", 0)) or NO_ADDRESS
        insert = shape.get("insert_caller", False)
        self.table = table = StackTable(
            func, int(loaded.config["max_frames"]), insert, shape.get("returned", False)
        )
        self.groups_of = Groups(per)
        self.contexts = Contexts(loaded.tree, table, self.groups_of)

    def counts(self) -> dict[tuple[tuple[int, ...], str], int]:
        """Return the counts by stack and by kind: whole, truncated, or fallback."""
        found: dict[tuple[tuple[int, ...], str], int] = {}
        for offset, node in self.loaded.tree.counted():
            for number, cut in ((node.ended, False), (node.cut, True)):
                if number:
                    key = self.shown(self.contexts.context(offset, cut).stack)
                    found[key] = found.get(key, 0) + number
        return found

    def groups(self) -> dict[tuple[tuple[int, ...], Group | None], int]:
        """Return the counts by group, too."""
        found: dict[tuple[tuple[int, ...], Group | None], int] = {}
        for offset, node in self.loaded.tree.counted():
            context = self.contexts.context(offset)
            key = self.shown(context.stack)[0], context.group
            found[key] = found.get(key, 0) + node.ended + node.cut
        return found

    def stacks(self) -> dict[Stack, int]:
        """Return the counts by stack, with the codes of its frames."""
        found: dict[Stack, int] = {}
        for offset, node in self.loaded.tree.counted():
            stack = self.contexts.stack(offset)
            assert stack is not None
            found[stack] = found.get(stack, 0) + node.ended
        return found

    @staticmethod
    def shown(stack: Stack | None) -> tuple[tuple[int, ...], str]:
        """Return a stack's addresses and kind."""
        if stack is None:
            return (), "gone"
        flags = [name for name in ("truncated", "fallback") if getattr(stack, name)]
        return stack.addresses, " ".join(flags) or "whole"


def counted(loaded: Loaded, returned: bool = False) -> dict[tuple[tuple[int, ...], str], int]:
    """Return the counts by stack and by kind, and unload the programs."""
    found = Reader(loaded, returned=returned).counts()
    loaded.close()
    return found
