# SPDX-License-Identifier: MIT
"""A kernel to be walked: its code, and the data structures that the walk looks into."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Sequence
from typing import NamedTuple

from functions import Function, Text
from layouts import Layout, types
from memory import Memory
from x86.rules import Orc

from kwalk.probe.config import digits
from kwalk.transport import context_tree as tree

TEXT = 0xFFFFFFFF81000000
TEXT_SIZE = 0x4000
INIT_TEXT = 0xFFFFFFFF81800000
TABLES = 0xFFFFFFFF82000000
IMAGE_END = 0xFFFFFFFF83000000
TRAMPOLINES = 0xFFFFFFFFA0000000
MODULES = 0xFFFFFFFFC0000000
BPF = 0xFFFFFFFFC0A00000
SLOTS = 0xFFFFFFFFC0F00000
HEAP = 0xFFFF888100000000
HEAP_SIZE = 0x20000
STACK_SIZE = 0x4000
TASK_STACK, IRQ_STACK, NMI_STACK = 0xFFFFC90000100000, 0xFFFFC90000200000, 0xFFFFFE0000010000
FENCE = 64  # bytes behind a table that can be read, as on a kernel


class Placed(NamedTuple):
    """A module, or BPF code.

    :ivar number: Of a module: its folder in sysfs.
    """

    name: str
    text: Text
    number: int = 0


class Kernel:
    """What a program finds on a kernel of a layout.

    :param lookup: Whether kallsyms shows ``orc_lookup``.
    :param without: Members and types that this kernel lacks.
    """

    def __init__(
        self, layout: Layout, *, lookup: bool = True, without: frozenset[str] = frozenset()
    ) -> None:
        self.layout = layout
        self.types = types(layout.types, frozenset())
        self.known = types(layout.types, without)
        self.memory = Memory()
        self.text = Text(TEXT, TEXT_SIZE)
        self.init_text = Text(INIT_TEXT, 0x1000)
        self.modules: list[Placed] = []
        self.programs: list[Placed] = []
        self.ops: list[tuple[int, int, Function]] = []  # start, size, what it is a copy of
        self.slots: list[int] = []
        self.symbols: dict[str, int] = {}
        self.stack_size = STACK_SIZE
        self.padding = layout.padding
        self.part = "mem[0]" if layout.module_memory else "core_layout"  # that code is in
        self._lookup = lookup
        self._heap = self.memory.area(HEAP, HEAP_SIZE)
        self._tables = self.memory.area(TABLES, 0x20000)
        for stack in (TASK_STACK, IRQ_STACK, NMI_STACK):
            self.memory.area(stack, STACK_SIZE)
        self.task = self.object("struct task_struct", stack=TASK_STACK)
        self._tasks = 0
        self.rethooked: dict[int, int] = {}  # by slot, the real address
        self.graphed: dict[int, int] = {}
        self.mod_tree = self.object("struct latch_tree_root")
        self.bpf_tree = self.object("struct latch_tree_root")
        self.ops_list = self.allocate(8)
        self.list_end = self.object("struct ftrace_ops")

    # Memory

    def allocate(self, size: int) -> int:
        """Return the address of that many bytes, which are 0."""
        address = self._heap
        self._heap += size + 15 & -16
        assert self._heap < HEAP + HEAP_SIZE - FENCE
        return address

    def object(self, name: str, **members: int) -> int:
        """Make a structure, and set words of it."""
        address = self.allocate(self.types.size(name))
        self.set(address, name, **members)
        return address

    def at(self, address: int, name: str, path: str) -> int:
        """The address of a member."""
        return address + self.types.offset(name, path)

    def set(self, address: int, name: str, **members: int) -> None:
        """Set words of a structure."""
        for path, value in members.items():
            self.memory.put_word(self.at(address, name, path), value)

    def _table(self, rows: Sequence[tuple[int, Orc]]) -> tuple[int, int]:
        """Write an ORC table; return where its places and its rules are."""
        places = self._tables
        entries = places + 4 * len(rows) + FENCE & -8
        numbers = [address - places - 4 * number for number, (address, _) in enumerate(rows)]
        self.memory.put(places, struct.pack(f"<{len(rows)}i", *numbers))
        self.memory.put(entries, b"".join(rule.encode(self.layout) for _, rule in rows))
        self._tables = entries + 6 * len(rows) + FENCE & -8
        return places, entries

    # Code

    def write_tables(self) -> None:
        """Write the ORC tables and the lists of what code there is; nothing is added any more."""
        if not self.layout.frame_pointers:
            rows = self.text.table() + self.init_text.table()
            places, entries = self._table(rows)
            self.symbols |= {"orc_ip": places, "orc": entries, "orc_entries": len(rows)}
            if self._lookup:
                self._write_lookup(rows)
        for module in self.modules:
            self._write_module(module)
        self.write_modules()
        self.write_programs()
        self._write_ops()
        self._write_slots()

    def _write_lookup(self, rows: Sequence[tuple[int, Orc]]) -> None:
        """orc_lookup, as unwind_init() fills it."""

        starts = [address for address, _ in rows]

        def entry(address: int) -> int:
            return max(bisect.bisect_right(starts, address) - 1, 0)

        blocks = TEXT_SIZE // 256 + 1
        words = [entry(TEXT + 256 * block) for block in range(blocks)] + [entry(TEXT + TEXT_SIZE)]
        self.memory.put(self._tables, struct.pack(f"<{len(words)}I", *words))
        self.symbols |= {"orc_lookup": self._tables, "orc_lookups": len(words)}
        self._tables += 4 * len(words) + FENCE & -8

    def add_module(self, name: str, number: int, size: int = 0x1000) -> Placed:
        """A module without functions."""
        start = MODULES + 0x10000 * len(self.modules)
        self.modules.append(Placed(name, Text(start, size), number))
        return self.modules[-1]

    def add_program(self, name: str, size: int = 0x200) -> Placed:
        """A BPF program, or a trampoline of BPF's."""
        start = BPF + 0x1000 * len(self.programs)
        self.programs.append(Placed(name, Text(start, size)))
        return self.programs[-1]

    def add_trampoline(self, original: Function) -> int:
        """A trampoline of ftrace's; return where it begins."""
        start = TRAMPOLINES + 0x1000 * len(self.ops)
        self.ops.append((start, original.size, original))
        return start

    def _write_module(self, module: Placed) -> None:
        """struct module, and where its ORC is."""
        address = self.object("struct module")
        self.symbols[f"module {module.name}"] = address
        folder = self.object("struct kernfs_node", id=module.number | 7 << 32)
        self.set(address, "struct module", **{"mkobj.kobj.sd": folder})
        if not self.layout.frame_pointers:
            rows = module.text.table() if module.text.functions else []
            places, entries = self._table(rows)
            members = {"arch.orc_unwind_ip": places, "arch.orc_unwind": entries}
            self.set(address, "struct module", **members)
            self.memory.put_int(self.at(address, "struct module", "arch.num_orcs"), len(rows))

    def _module_node(self, module: Placed, part: str) -> tuple[int, int]:
        """Fill in a part of a module; return its latch_tree_node, and where it begins."""
        address = self.symbols[f"module {module.name}"]
        start = module.text.start
        sizes = {"size": module.text.size}
        if not self.layout.module_memory:
            sizes = {"size": module.text.size + 0x2000, "text_size": module.text.size}
        self.set(address, "struct module", **{f"{part}.base": start, f"{part}.mtn.mod": address})
        for name, size in sizes.items():
            self.memory.put_int(self.at(address, "struct module", f"{part}.{name}"), size)
        return self.at(address, "struct module", f"{part}.mtn.node"), start

    def write_modules(self, phase: int = 0, *, loaded: Sequence[Placed] | None = None) -> None:
        """The tree of modules, of whose two copies ``phase`` (its sequence number) tells which.

        The other copy is as it was: of no modules.
        """
        loaded = self.modules if loaded is None else loaded
        nodes = [self._module_node(module, self.part) for module in loaded]
        self._write_tree(self.mod_tree, nodes, phase)

    def write_programs(self, phase: int = 0, *, loaded: Sequence[Placed] | None = None) -> None:
        """The same of BPF programs."""
        nodes = []
        for program in self.programs if loaded is None else loaded:
            name = f"program {program.name}"
            if name not in self.symbols:
                self.symbols[name] = self.object("struct bpf_ksym")
            address = self.symbols[name]
            self.set(address, "struct bpf_ksym", start=program.text.start, end=program.text.end)
            self.memory.put(self.at(address, "struct bpf_ksym", "name"), program.name.encode())
            nodes.append((self.at(address, "struct bpf_ksym", "tnode"), program.text.start))
        self._write_tree(self.bpf_tree, nodes, phase)

    def _write_tree(self, root: int, nodes: Sequence[tuple[int, int]], phase: int) -> None:
        """Copy ``phase & 1`` of a latched tree becomes a balanced one of the nodes."""
        copy = phase & 1
        size = self.types.size("struct rb_node")

        def place(part: Sequence[tuple[int, int]]) -> int:
            if not part:
                return 0
            middle = len(part) // 2
            node = part[middle][0] + copy * size
            for side, rest in (("rb_left", part[:middle]), ("rb_right", part[middle + 1 :])):
                self.set(node, "struct rb_node", **{side: place(rest)})
            return node

        top = place(sorted(nodes, key=lambda node: node[1]))
        self.memory.put_word(self.at(root, "struct latch_tree_root", f"tree[{copy}]"), top)
        self.memory.put_int(self.at(root, "struct latch_tree_root", "seq"), phase)

    def add_placed(self, module: Placed) -> None:
        """One more module; it is not in the tree yet."""
        self.modules.append(module)
        self._write_module(module)

    def ruin_other_copy(self, root: int, phase: int) -> None:
        """Leave in the copy that readers are not to use what would lead them astray."""
        other = 1 - (phase & 1)
        self.memory.put_word(
            self.at(root, "struct latch_tree_root", f"tree[{other}]"), HEAP + HEAP_SIZE - 8
        )

    def _write_ops(self) -> None:
        """ftrace_ops_list: first those without a trampoline."""
        first = self.list_end
        for start, size, original in reversed(self.ops):
            flags = 1 << 2 if original.start == self.symbols.get("ftrace_regs_caller") else 1 << 5
            first = self.object(
                "struct ftrace_ops", next=first, flags=flags, trampoline=start, trampoline_size=size
            )
        if self.ops:
            first = self.object("struct ftrace_ops", next=first)
        self.memory.put_word(self.ops_list, first)

    def _write_slots(self) -> None:
        """Pages of instruction slots, in the list of kprobe_insn_slots."""
        for name, pages in (("insn_slots", self.slots), ("optinsn_slots", [])):
            cache = self.object("struct kprobe_insn_cache")
            head = previous = self.at(cache, "struct kprobe_insn_cache", "pages")
            for page in pages:
                node = self.object("struct kprobe_insn_page", insns=page)
                self.memory.put_word(previous, node)
                previous = node
            self.memory.put_word(previous, head)
            self.symbols[name] = cache

    def new_task(self) -> int:
        """A task with a stack of its own."""
        self._tasks += 1
        stack = self.memory.area(TASK_STACK + 0x1000000 * self._tasks, STACK_SIZE)
        return self.object("struct task_struct", stack=stack)

    def number(self, task: int, level: int, numbers: Sequence[int], space: int) -> None:
        """Give a task, a process of its own, its numbers in PID namespaces."""
        pid = self.pid(level, numbers, space)
        self.set(task, "struct task_struct", thread_pid=pid, group_leader=task)

    @staticmethod
    def space(level: int) -> int:
        """A PID namespace at a level."""
        return HEAP + 8 * level

    def pid(self, level: int, numbers: Sequence[int], space: int) -> int:
        """struct pid, with numbers from level 0 on.

        :param space: The namespace at level 1.
        """
        size = self.types.size("struct upid")
        pid = self.allocate(self.types.size("struct pid") + 2 * size)
        self.memory.put_int(self.at(pid, "struct pid", "level"), level)
        for each in range(level + 1):
            upid = self.at(pid, "struct pid", "numbers") + each * size
            self.set(upid, "struct upid", ns=space if each == 1 else self.space(each))
            self.memory.put_int(self.at(upid, "struct upid", "nr"), numbers[each])
        return pid

    # Return addresses that were replaced

    def rethook(self, slot: int, real: int) -> None:
        """A kretprobe takes the return address at a slot for its own."""
        self.rethooked[slot] = real
        node = self.object("struct rethook_node", ret_addr=real, frame=slot)
        first = self.at(self.task, "struct task_struct", "rethooks")
        link = self.at(node, "struct rethook_node", "llist")
        self.memory.put_word(link, self.memory.word(first))
        self.memory.put_word(first, link)
        self.memory.put_word(slot, self.symbols["rethook"])

    def graph(self, slot: int, real: int, extra: int = 0) -> None:
        """The function graph tracer does.

        :param extra: Words that a tracer keeps with the entry, since 6.11.
        """
        self.graphed[slot] = real
        self.memory.put_word(slot, self.symbols["graph_return"])
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
            # The word above an entry: how many words down it begins, and of which type it is.
            self.memory.put_word(base + 8 * (index + words), words | 1 << 10)
            after = index + words + 1
        else:
            entry = base + size * (index + 1)
            after = index + 1
        self.set(entry, "struct ftrace_ret_stack", ret=real, retp=slot)
        self.memory.put_int(current, after)

    # What user space tells

    def config(self, cpus: int, nodes: int) -> dict[str, int]:
        """struct kw_config, as ``probe/config.py`` makes it of this kernel's symbols."""
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
            "node_mask": (tree.size_for(nodes, cpus) - 1) * tree.NODE_BYTES,
        }  # fmt: skip
        named = (
            "orc_ip orc orc_entries orc_lookup orc_lookups rethook graph_return ftrace_caller"
            " ftrace_regs_caller entry_start entry_end nmi_start nmi_end switch_asm_start"
            " switch_asm_end switch_start switch_end insn_slots optinsn_slots"
        )
        return members | {name: known[name] for name in named.split() if name in known}

    def control(self) -> dict[str, int]:
        """struct kw_control."""
        known = {"stack_size": self.stack_size}
        if self.layout.frame_pointers:
            return known
        return known | {
            "orc_reg_sp": self.layout.registers["sp"],
            "orc_reg_prev_sp": self.layout.registers["cfa"],
            "orc_last": self.symbols.get("orc_entries", 1) - 1,
        }


DIGITS = digits()
