# SPDX-License-Identifier: MIT
"""Kernels with code in them, stacks of theirs, and what programs made of these."""

from __future__ import annotations

from random import Random

from kernel import Kernel
from layouts import Layout
from loaded import Loaded
from x86.execution import Body, Execution, make

from kwalk.abi import Per
from kwalk.decode.contexts import Contexts
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.model.stack import Group, Stack


class World:
    """A kernel with functions of every kind.

    :ivar func: The one that is traced.
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
    ) -> None:
        self.random = random
        self.kernel = kernel = Kernel(layout, lookup=lookup, without=without)
        text = kernel.text
        gap = random.choice((0, 0, 5, 300))
        # What interrupts and system calls come in by.
        straight = layout.frame_pointers  # right below the registers: is_last_task_frame()
        room = 0 if straight else random.randint(0, 2)
        self.syscall = make(text, "entry", room=room, gap=gap)
        self.interrupt = make(text, "entry", room=random.randint(0, 3), signal=True)
        kernel.symbols |= {"entry_start": self.syscall.start, "entry_end": self.interrupt.end}
        self.nmi = make(text, "entry", room=random.randint(0, 1), signal=True)
        kernel.symbols |= {"nmi_start": self.nmi.start, "nmi_end": self.nmi.end}
        self.thread = make(text, "end")
        self.unknown = make(text, "unknown")
        for name in ("rethook", "graph_return"):
            kernel.symbols[name] = make(text, "sp", size=64).start
        self.ftrace = make(text, "sp", saves=True, room=2)
        self.ftrace_regs = make(text, "sp", saves=True, room=random.randint(15, 22))
        kernel.symbols |= {
            "ftrace_caller": self.ftrace.start,
            "ftrace_regs_caller": self.ftrace_regs.start,
        }
        kinds = "bp" if layout.frame_pointers else "sp sp bp aligned"
        self.functions = [self._function(text, kinds) for _ in range(random.randint(4, 8))]
        # It goes on on another stack; by ORC such a function has a frame of a fixed size.
        self.switching = self._function(text, "bp" if layout.frame_pointers else "sp")
        self.func = self._function(text, kinds)
        self.init = self._function(kernel.init_text, kinds)
        self.modular: list[Body] = []
        for number in range(modules):
            module = kernel.add_module(f"mod{number}", 1000 + number)
            self.modular += [self._function(module.text, kinds) for _ in range(2)]
        self.bpf: list[Body] = []
        for number in range(programs):
            program = kernel.add_program(f"bpf_prog_{number}")
            self.bpf.append(make(program.text, "bp", room=1))
        self.copies = [
            Body(
                body.function,
                "sp",
                True,
                0,
                body.room,
                kernel.add_trampoline(body.function) - body.function.start,
            )
            for body in (self.ftrace, self.ftrace_regs)
        ]
        if layout.frame_pointers:
            # There ftrace's trampolines make a frame, too.
            self.copies = [Body(copy.function, "bp", by=copy.by) for copy in self.copies]
        kernel.write_tables()

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
        )

    def any_function(self) -> Body:
        """Of the kernel, of a module, of BPF, of ftrace, or freed after boot."""
        pools = [self.functions] * 4 + [self.modular, self.bpf, self.copies, [self.init]]
        return self.random.choice(self.random.choice([pool for pool in pools if pool]))

    def begin(self) -> Execution:
        """The outermost frame of a task."""
        execution = Execution(self.kernel, self.random)
        if self.random.random() < 0.3:
            execution.from_thread(self.thread)
        else:
            execution.from_user(self.syscall)
        execution.call(self.random.choice(self.functions))
        return execution

    def go(self, execution: Execution, calls: int) -> None:
        """Some calls further in."""
        for _ in range(calls):
            execution.call(self.any_function())

    def stacked(self, calls: int = 6) -> Execution:
        """A task's stack, maybe with an interrupt and an NMI on it; FUNC has just been called."""
        random = self.random
        execution = self.begin()
        self.go(execution, random.randint(0, calls))
        if random.random() < 0.4:
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


class Reader:
    """User space's reading of what programs counted."""

    def __init__(self, loaded: Loaded, func: int, per: Per = Per.NOTHING, **shape: bool) -> None:
        self.loaded, self.func = loaded, func
        insert = shape.get("insert_caller", False)
        table = StackTable(
            func, int(loaded.config["max_frames"]), insert, shape.get("returned", False)
        )
        self.contexts = Contexts(loaded.tree, table, Groups(per))

    def counts(self) -> dict[tuple[tuple[int, ...], str], int]:
        """How often each stack was counted, and how: whole, cut, or by the kernel (fallback)."""
        found: dict[tuple[tuple[int, ...], str], int] = {}
        for offset, node in self.loaded.tree.counted():
            for number, cut in ((node.ended, False), (node.cut, True)):
                if number:
                    key = self.shown(self.contexts.context(offset, cut).stack)
                    found[key] = found.get(key, 0) + number
        return found

    def groups(self) -> dict[tuple[tuple[int, ...], Group | None], int]:
        """The same, by groups."""
        found: dict[tuple[tuple[int, ...], Group | None], int] = {}
        for offset, node in self.loaded.tree.counted():
            context = self.contexts.context(offset)
            key = self.shown(context.stack)[0], context.group
            found[key] = found.get(key, 0) + node.ended + node.cut
        return found

    @staticmethod
    def shown(stack: Stack | None) -> tuple[tuple[int, ...], str]:
        """A stack's addresses, and how it came about."""
        if stack is None:
            return (), "gone"
        flags = [name for name in ("truncated", "fallback") if getattr(stack, name)]
        return stack.addresses, " ".join(flags) or "whole"
