# SPDX-License-Identifier: MIT
"""A synthetic kernel: its code and tasks, and the configuration of programs for it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from code_lists import CodeLists
from layouts import Layout
from objects import (
    HEAP,
    IMAGE_END,
    INIT_TEXT,
    IRQ_STACK,
    NMI_STACK,
    STACK_SIZE,
    TASK_STACK,
    TEXT,
    TEXT_SIZE,
)

from kwalk.transport import context_tree as tree


class Kernel(CodeLists):
    """Kernel memory of a layout, as programs read it."""

    def __init__(
        self, layout: Layout, *, lookup: bool = True, without: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(layout, lookup, without)
        self.stack_size = STACK_SIZE
        self.padding = layout.padding
        for stack in (TASK_STACK, IRQ_STACK, NMI_STACK):
            self.memory.area(stack, STACK_SIZE)
        self.task = self.object("struct task_struct", stack=TASK_STACK)
        self._tasks = 0
        self.rethooked: dict[int, int] = {}  # cookie -> real address
        self.graphed: dict[int, int] = {}
        self.code_mask = 0  # bits of code addresses that signatures take

    def new_task(self) -> int:
        """Make a task with a stack of its own."""
        self._tasks += 1
        stack = self.memory.area(TASK_STACK + 0x1000000 * self._tasks, STACK_SIZE)
        return self.object("struct task_struct", stack=stack)

    def number(self, task: int, level: int, numbers: Sequence[int], space: int) -> None:
        """Give a single-threaded process its PIDs in the PID namespaces."""
        pid = self.pid(level, numbers, space)
        self.set(task, "struct task_struct", thread_pid=pid, group_leader=task)

    @staticmethod
    def space(level: int) -> int:
        """Return the address of the PID namespace at a level."""
        return HEAP + 8 * level

    def pid(self, level: int, numbers: Sequence[int], space: int) -> int:
        """Write a struct pid, with its numbers from level 0 on.

        :param space: Namespace at level 1.
        """
        size = self.types.size("struct upid")
        pid = self.allocate(self.types.size("struct pid") + 2 * size)
        self.memory.put_int(self.at(pid, "struct pid", "level"), level)
        for each in range(level + 1):
            upid = self.at(pid, "struct pid", "numbers") + each * size
            self.set(upid, "struct upid", ns=space if each == 1 else self.space(each))
            self.memory.put_int(self.at(upid, "struct upid", "nr"), numbers[each])
        return pid

    # Replaced return addresses

    def rethook(self, cookie: int, real: int) -> None:
        """Enter a return address into the list of the ones that kretprobes replaced.

        :param cookie: Number that finds it: the address of its slot, or the caller's FP.
        """
        if real != self.symbols["rethook"]:  # else a kretprobe has replaced it already
            self.rethooked[cookie] = real
        name, member, head = "struct rethook_node", "frame", "rethooks"
        if self.layout.kretprobe_list:
            name, member, head = "struct kretprobe_instance", "fp", "kretprobe_instances"
        node = self.object(name, ret_addr=real, **{member: cookie})
        first = self.at(self.task, "struct task_struct", head)
        link = self.at(node, name, "llist")
        self.memory.put_word(link, self.memory.word(first))
        self.memory.put_word(first, link)

    def graph(self, cookie: int, real: int, extra: int = 0) -> None:
        """Push a return address that the function-graph tracer replaced on its shadow stack.

        :param extra: Words of data that a tracer keeps with the entry, since 6.11.
        """
        if real != self.symbols["graph_return"]:
            self.graphed[cookie] = real
        size = self.types.size("struct ftrace_ret_stack")
        current = self.at(self.task, "struct task_struct", "curr_ret_stack")
        stack = self.at(self.task, "struct task_struct", "ret_stack")
        if not self.memory.word(stack):
            self.memory.put_word(stack, self.allocate(4096))
            self.memory.put_int(current, 0 if self.layout.graph_words else -1)
        index = struct.unpack("<i", self.memory.read(current, 4) or b"")[0]
        base = self.memory.word(stack)
        if self.layout.graph_words:
            entry = base + 8 * index
            words = size // 8 + extra
            # The word above an entry has its size in words and its type.
            self.memory.put_word(base + 8 * (index + words), words | 1 << 10)
            after = index + words + 1
        else:
            entry = base + size * (index + 1)
            after = index + 1
        self.set(entry, "struct ftrace_ret_stack", ret=real, retp=cookie)
        self.memory.put_int(current, after)

    def config(self, cpus: int, nodes: int) -> dict[str, int]:
        """Return ``struct kw_config`` as ``probe/config.py`` makes it, by this kernel's symbols."""
        known = self.symbols
        hooks = [known[name] for name in ("rethook", "graph_return") if known.get(name)]
        members = {
            "text_start": TEXT, "text_end": TEXT + TEXT_SIZE,
            "init_start": INIT_TEXT, "init_end": INIT_TEXT + 0x1000, "image_end": IMAGE_END,
            "hook_first": min(hooks, default=0),
            "hook_span": max(hooks, default=0) - min(hooks, default=0),
            "mod_tree": self.mod_tree, "bpf_tree": self.bpf_tree,
            "ftrace_ops_list": self.ops_list, "ftrace_list_end": self.list_end,
            "method": 2, "max_frames": 127, "kernel_frames": 127, "stack_padding": self.padding,
            "typed_loads": int(self.layout.rdonly_cast),
            "nodes": nodes + tree.reserved(cpus),
            "code_mask": self.code_mask,
            "node_mask": (tree.size_for(nodes, cpus) - 1) * tree.NODE_BYTES,
        }  # fmt: skip
        named = (
            "orc_ip orc orc_entries orc_lookup orc_lookups rethook graph_return ftrace_caller"
            " ftrace_regs_caller entry_start entry_end nmi_start nmi_end switch_asm_start"
            " switch_asm_end switch_start switch_end insn_slots optinsn_slots"
        )
        return members | {name: known[name] for name in named.split() if name in known}

    def control(self) -> dict[str, int]:
        """Return ``struct kw_control``."""
        known = {"stack_size": self.stack_size}
        if self.layout.frame_pointers:
            return known
        return known | {
            "orc_reg_sp": self.layout.registers["sp"],
            "orc_reg_prev_sp": self.layout.registers["cfa"],
            "orc_last": self.symbols.get("orc_entries", 1) - 1,
        }
