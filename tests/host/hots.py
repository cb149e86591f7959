# SPDX-License-Identifier: MIT
"""Probes with generated programs in front of the walk, and stacks that they meet."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

from built import X86
from interpreter import Interpreter
from kernel import Kernel
from library import ffi
from loaded import Loaded
from machine import Execution
from objects import TEXT
from worlds import Reader, World

from kwalk.abi import HOT_ENTRY, HOT_PROGRAM, Unwinder
from kwalk.arch.aarch64 import AARCH64
from kwalk.arch.hot_frame import HotKernel, HotStart, Unsupported
from kwalk.hot import paths as hot_paths
from kwalk.hot import program
from kwalk.hot.program import Maps, generate
from kwalk.probe.hot_entry import leaf_at

PROGRAMS = {False: "kw_kprobe_hot", True: "kw_fentry_hot"}
ALONE = {False: "kw_kprobe", True: "kw_fentry"}
ARGUMENTS = 2
FALLBACK = TEXT + 0x3F00  # caller in stacks of the kernel's unwinder: code in no stack

if not X86:
    vars(program)["here"] = lambda: AARCH64

Counts = dict[tuple[tuple[int, ...], str], int]
Image = dict[int, bytes]


def image(kernel: Kernel) -> Image:
    """Return a copy of the kernel's memory."""
    return {start: bytes(data) for start, data in kernel.memory}


def restore(kernel: Kernel, saved: Image) -> None:
    """Write a copy back."""
    for start, data in kernel.memory:
        if start in saved:
            data[:] = saved[start]


@dataclass
class Stack:
    """A stack up to the call of FUNC, with all of the kernel's memory.

    :ivar start: Layout of fentry's trampoline: ``plain``, ``shifted`` or ``jumped``.
    :ivar kernels: Stack that the kernel's unwinder finds; None for another one.
    """

    world: World
    execution: Execution
    memory: Image
    start: str = "plain"
    kernels: list[int] | None = None

    @classmethod
    def of(cls, world: World, execution: Execution, start: str = "plain") -> Stack:
        """Return the stack of an execution that has just called FUNC."""
        return cls(world, execution, image(world.kernel), start)

    @property
    def addresses(self) -> tuple[int, ...]:
        """Return the true frames."""
        return self.world.func.start, *self.execution.callers

    def changed(self, words: dict[int, int], bp: int | None = None) -> Stack:
        """Return the same stack with other words at some addresses, or another BP."""
        kernel, execution = self.world.kernel, self.execution
        restore(kernel, self.memory)
        for address, word in words.items():
            kernel.memory.put_word(address, word)
        other = copy(execution)
        other.fp = execution.fp if bp is None else bp
        return Stack(self.world, other, image(kernel), self.start)

    def hit(self, loaded: Loaded, program: str, cpu: int = 0) -> None:
        """Hit the probe."""
        restore(self.world.kernel, self.memory)
        execution, func = self.execution, self.world.func.start
        state = loaded.cpus[cpu].state
        state.task = execution.task
        loaded.cpus[cpu].unwinds(*(self.kernels or (func + 4, FALLBACK)))
        if "fentry" not in program:
            loaded.run(program, execution.regs(func), cpu)
            return
        state.arguments = ARGUMENTS
        sp = execution.sp
        if self.start == "jumped":
            context = execution.jumped(ARGUMENTS)
        else:
            context = execution.trampoline(func, ARGUMENTS, int(self.start == "shifted"))
        loaded.run(program, context, cpu)
        execution.sp = sp

    def alone(self, fentry: bool, **settings: Any) -> tuple[Counts, dict[str, int]]:
        """Return what the walk alone counts for one hit, and its counters."""
        loaded = Loaded(
            self.world.kernel, func=self.world.func.start, fentry=int(fentry), **settings
        )
        self.hit(loaded, ALONE[fentry])
        found = Reader(loaded).counts(), loaded.counters()
        loaded.close()
        return found


class Hot:
    """A loaded probe with its generated program; it is the only one that is loaded.

    :ivar numbers: Stacks that programs were made for.
    :ivar refused: Those that no program can follow, with the reason.
    """

    def __init__(self, world: World, fentry: bool, **settings: Any) -> None:
        settings = {"func": world.func.start, "fentry": int(fentry), "nodes": 1500, **settings}
        self.world, self.fentry = world, fentry
        self.loaded = loaded = Loaded(world.kernel, **settings)
        self.reader = hot_paths.PathReader(loaded.tree, len(loaded.cpus))
        self.numbers: dict[hot_paths.Key, int] = {}
        self.refused: dict[hot_paths.Key, str] = {}
        self.program: Interpreter | None = None
        self.lib = loaded._lib
        self.lib.host_set_tail(HOT_PROGRAM, ffi.NULL)
        self.lib.host_set_tail_program(HOT_ENTRY, PROGRAMS[fentry].encode())

    def close(self) -> None:
        """Empty the slots and unload."""
        assert not any(row["resume"] for row in self._rows())
        self.lib.host_set_tail(HOT_PROGRAM, ffi.NULL)
        self.lib.host_set_tail(HOT_ENTRY, ffi.NULL)
        self.loaded.close()

    def hit(self, stack: Stack, cpu: int = 0) -> None:
        """Hit the probe."""
        stack.hit(self.loaded, PROGRAMS[self.fentry], cpu)

    # Results

    def _rows(self) -> list[dict[str, int]]:
        return [self.loaded.tree.hot(cpu) for cpu in range(len(self.loaded.cpus))]

    @property
    def missed(self) -> int:
        """Return the hits that programs did not know."""
        return sum(row["missed"] for row in self._rows())

    @property
    def taken(self) -> int:
        """Return the hits that programs knew."""
        return self.loaded.tree.hits() - self.missed - sum(r["unassisted"] for r in self._rows())

    def counts(self) -> Counts:
        """Return the counts so far."""
        return Reader(self.loaded).counts()

    def takes(self, stack: Stack, cpu: int = 0) -> bool:
        """Hit the probe; return whether the program knew the stack."""
        before = self.taken
        self.hit(stack, cpu)
        return self.taken > before

    def outcome(self, stack: Stack, cpu: int = 0) -> tuple[Counts, dict[str, int]]:
        """Return what one hit adds to the counts and to the counters."""
        counts, counters = self.counts(), self.loaded.counters()
        self.hit(stack, cpu)
        return _more(self.counts(), counts), _more(self.loaded.counters(), counters)

    # Programs

    def kernel(self) -> HotKernel:
        """Return the facts about this kernel."""
        kernel = self.world.kernel
        return HotKernel(
            Unwinder.FRAME_POINTER if kernel.layout.frame_pointers else Unwinder.ORC,
            int(self.loaded.config["typed_loads"]),
            1,
            kernel.types.offset("struct task_struct", "stack"),
            kernel.stack_size,
            kernel.padding,
            self.is_static,
            code_mask=kernel.code_mask,
            regs_record=0 if X86 else kernel.types.offset("struct pt_regs", "stackframe"),
            last_record=0 if X86 else last_record(kernel),
            record_types="frame_record_meta" in kernel.layout.types,
        )

    def is_static(self, address: int) -> bool:
        """Return whether the frame has the same size each time, where it is complete."""
        world = self.world
        return any(b.static and b.start + 4 < address <= b.end for b in world.functions)

    def start(self, cpu: int = 0) -> HotStart:
        """Return how hits begin, as a CPU's last walk met it."""
        row = self.loaded.tree.hot(cpu)
        func = self.world.func.start
        return HotStart(self.fentry, row["arguments"], row["shift"], row["returns"], func)

    def fill(self, found: Iterable[hot_paths.Path]) -> None:
        """Write where stacks end in each CPU's tree."""
        leaves = self.loaded.maps["leaves"].memory
        for path in found:
            for cpu, offset in path.nodes.items():
                at = leaf_at(cpu, self.numbers[path.key])
                struct.pack_into("<I", ffi.buffer(leaves, at + 4), at, offset)

    def make(self, start: HotStart | None = None) -> int:
        """Make a program for all stacks seen since the last call; return their number."""
        loaded = self.loaded
        start = start or self.start()
        memory = {
            number: int(ffi.cast("uint64_t", loaded.maps[name].memory))
            for number, name in enumerate(("tree", "leaves"), 1)
        }
        maps = Maps(1, 2, 3, int(loaded.config["node_mask"]), len(loaded.cpus))
        counts = not loaded.config.get("slow")
        found = []
        for path in self.reader.read():
            root = hot_paths.merged([path], {path.key: 0})
            try:
                generate(root, start, self.kernel(), maps, counts)
            except Unsupported as why:
                self.refused[path.key] = str(why)
                continue
            self.numbers.setdefault(path.key, len(self.numbers))
            found.append(path)
        self.fill(found)
        if found:
            code = generate(
                hot_paths.merged(found, self.numbers), start, self.kernel(), maps, counts
            )
            self.program = Interpreter(code, memory | {3: 0})
            self.lib.host_set_tail(HOT_PROGRAM, self.program.callback)
        return len(found)


def _more(after: dict[Any, int], before: dict[Any, int]) -> dict[Any, int]:
    return {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}


def last_record(kernel: Kernel) -> int:
    """Return the bytes from a task's last frame record to its stack's end."""
    types = kernel.types
    return types.size("struct pt_regs") - types.offset("struct pt_regs", "stackframe")


# Stacks of each kind

KINDS = (
    *("user", "thread", "softirq", "interrupt", "switched interrupt", "early", "nmi", "nested"),
    *("framed", "aligned"),
)


def kinds(frame_pointers: bool) -> tuple[str, ...]:
    """Return the kinds of stacks of a kernel; ``early`` is an interrupt before BP is set up."""
    return tuple(kind for kind in KINDS if kind != "aligned" or not frame_pointers)


def build(world: World, kind: str, calls: int = 3) -> Stack:
    """Return a stack of a kind, through functions of the kernel's image, on a task of its own.

    :param world: With functions of each kind (``functions``).
    """
    random, functions = world.random, world.functions
    execution = Execution(world.kernel, random, world.kernel.new_task())

    def go() -> None:
        for _ in range(random.randint(1, calls)):
            execution.call(random.choice(functions))

    if kind == "thread":
        execution.from_thread(world.thread)
    else:
        execution.from_user(world.syscall)
    go()
    if kind in ("softirq", "nested"):
        execution.call(world.switching)
        execution.switch_stack()
        go()
    elif kind in ("interrupt", "switched interrupt"):
        execution.interrupt(world.interrupt)
        execution.call(world.switching)
        if kind != "interrupt":
            execution.switch_stack()
        go()
    elif kind == "early":
        body = random.choice(functions)
        execution.call(body, prologue=False)
        execution.interrupt(world.interrupt, at=body.start)
        go()
    elif kind in ("framed", "aligned"):
        execution.call(world.framed if kind == "framed" else world.aligned)
        go()
        execution.call(world.framed)
    if kind in ("nmi", "nested"):
        execution.interrupt(world.nmi, nmi=True)
        go()
    execution.call(world.func, prologue=False)
    return Stack.of(world, execution)
