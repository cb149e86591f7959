# SPDX-License-Identifier: MIT
"""ORC tables, and the kernel's lists of modules, BPF programs, ftrace copies and kprobe slots."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Sequence
from typing import NamedTuple

from functions import Function, Text
from layouts import Layout
from objects import (
    BPF,
    FENCE,
    HEAP,
    HEAP_SIZE,
    INIT_TEXT,
    MODULES,
    TABLES,
    TEXT,
    TEXT_SIZE,
    TRAMPOLINES,
    Objects,
)
from x86.rules import Orc


class Placed(NamedTuple):
    """A module, or a BPF program, at an address.

    :ivar number: Inode of the module's folder in sysfs.
    """

    name: str
    text: Text
    number: int = 0


class CodeLists(Objects):
    """A kernel's code, and the lists by which the kernel classifies an address.

    :param lookup: kallsyms has ``orc_lookup``.
    """

    def __init__(self, layout: Layout, lookup: bool, without: frozenset[str]) -> None:
        super().__init__(layout, without)
        self.text = Text(TEXT, TEXT_SIZE)
        self.init_text = Text(INIT_TEXT, 0x1000)
        self.modules: list[Placed] = []
        self.programs: list[Placed] = []
        self.ops: list[tuple[int, int, Function]] = []  # start, size, original
        self.slots: list[int] = []
        self.part = "mem[0]" if layout.module_memory else "core_layout"  # member with the code
        self._lookup = lookup
        self._tables = self.memory.area(TABLES, 0x20000)
        self.mod_tree = self.object("struct latch_tree_root")
        self.bpf_tree = self.object("struct latch_tree_root")
        self.ops_list = self.allocate(8)
        self.list_end = self.object("struct ftrace_ops")

    def _table(self, rows: Sequence[tuple[int, Orc]]) -> tuple[int, int]:
        """Write an ORC table; return the addresses of its ``orc_unwind_ip`` and ``orc_unwind``."""
        places = self._tables
        entries = places + 4 * len(rows) + FENCE & -8
        numbers = [address - places - 4 * number for number, (address, _) in enumerate(rows)]
        self.memory.put(places, struct.pack(f"<{len(rows)}i", *numbers))
        self.memory.put(entries, b"".join(rule.encode(self.layout) for _, rule in rows))
        self._tables = entries + 6 * len(rows) + FENCE & -8
        return places, entries

    def write_tables(self) -> None:
        """Write the ORC tables and all lists; code must not be added afterwards."""
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
        """Write orc_lookup, as unwind_init() does."""

        starts = [address for address, _ in rows]

        def entry(address: int) -> int:
            return max(bisect.bisect_right(starts, address) - 1, 0)

        blocks = TEXT_SIZE // 256 + 1
        words = [entry(TEXT + 256 * block) for block in range(blocks)] + [entry(TEXT + TEXT_SIZE)]
        self.memory.put(self._tables, struct.pack(f"<{len(words)}I", *words))
        self.symbols |= {"orc_lookup": self._tables, "orc_lookups": len(words)}
        self._tables += 4 * len(words) + FENCE & -8

    def add_module(self, name: str, number: int, size: int = 0x1000) -> Placed:
        """Add a module without functions."""
        start = MODULES + 0x10000 * len(self.modules)
        self.modules.append(Placed(name, Text(start, size), number))
        return self.modules[-1]

    def add_program(self, name: str, size: int = 0x200) -> Placed:
        """Add a BPF program or trampoline."""
        start = BPF + 0x1000 * len(self.programs)
        self.programs.append(Placed(name, Text(start, size)))
        return self.programs[-1]

    def add_trampoline(self, original: Function) -> int:
        """Add a trampoline of ftrace; return its address."""
        start = TRAMPOLINES + 0x1000 * len(self.ops)
        self.ops.append((start, original.size, original))
        return start

    def _write_module(self, module: Placed) -> None:
        """Write the struct module of a module, with its ORC table."""
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
        """Write an extent of a module; return its latch_tree_node and start address."""
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
        """Write the tree of modules into copy ``phase & 1``; ``phase`` is its sequence number.

        The other copy is unchanged, at first empty.
        """
        loaded = self.modules if loaded is None else loaded
        nodes = [self._module_node(module, self.part) for module in loaded]
        self._write_tree(self.mod_tree, nodes, phase)

    def write_programs(self, phase: int = 0, *, loaded: Sequence[Placed] | None = None) -> None:
        """Write the tree of BPF programs, likewise."""
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
        """Write a balanced tree of the nodes into copy ``phase & 1`` of a latch tree."""
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
        """Add a module without entering it into the tree."""
        self.modules.append(module)
        self._write_module(module)

    def ruin_other_copy(self, root: int, phase: int) -> None:
        """Point the copy that readers must not use to garbage."""
        other = 1 - (phase & 1)
        self.memory.put_word(
            self.at(root, "struct latch_tree_root", f"tree[{other}]"), HEAP + HEAP_SIZE - 8
        )

    def _write_ops(self) -> None:
        """Write ftrace_ops_list, the ops without a trampoline first."""
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
        """Write the pages of instruction slots in the list of kprobe_insn_slots."""
        for name, pages in (("insn_slots", self.slots), ("optinsn_slots", [])):
            cache = self.object("struct kprobe_insn_cache")
            head = previous = self.at(cache, "struct kprobe_insn_cache", "pages")
            for page in pages:
                node = self.object("struct kprobe_insn_page", insns=page)
                self.memory.put_word(previous, node)
                previous = node
            self.memory.put_word(previous, head)
            self.symbols[name] = cache
