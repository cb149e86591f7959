# SPDX-License-Identifier: MIT
"""Addresses of a kernel's code, tables, objects and stacks, and structures in its memory."""

from __future__ import annotations

from layouts import Layout, types
from memory import Memory

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
FENCE = 64  # readable bytes after a table, as on a kernel


class Objects:
    """A kernel's memory, with structures of its layout.

    :param without: Members and types that are missing in this kernel's BTF.
    """

    def __init__(self, layout: Layout, without: frozenset[str]) -> None:
        self.layout = layout
        self.types = types(layout.types, frozenset())
        self.known = types(layout.types, without)
        self.symbols: dict[str, int] = {}
        self.memory = Memory()
        self._heap = self.memory.area(HEAP, HEAP_SIZE)

    def allocate(self, size: int) -> int:
        """Return the address of this many zero bytes."""
        address = self._heap
        self._heap += size + 15 & -16
        assert self._heap < HEAP + HEAP_SIZE - FENCE
        return address

    def object(self, name: str, **members: int) -> int:
        """Make a structure and set members of it."""
        address = self.allocate(self.types.size(name))
        self.set(address, name, **members)
        return address

    def at(self, address: int, name: str, path: str) -> int:
        """Return the address of a member."""
        return address + self.types.offset(name, path)

    def set(self, address: int, name: str, **members: int) -> None:
        """Set members of a structure, a word each."""
        for path, value in members.items():
            self.memory.put_word(self.at(address, name, path), value)
