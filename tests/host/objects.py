# SPDX-License-Identifier: MIT
"""Addresses of a kernel's code, tables, objects and stacks, and structures in its memory."""

from __future__ import annotations

from built import X86
from layouts import Layout, types
from memory import Memory


def _at(x86: int, arm64: int) -> int:
    return x86 if X86 else arm64


# arm64: the image where KASLR has moved it, modules and BPF code where it has not, as seen with
# 48 bits of virtual addresses.
TEXT = _at(0xFFFFFFFF81000000, 0xFFFFDEB658810000)
TEXT_SIZE = 0x4000
INIT_TEXT = TEXT + 0x800000
TABLES = TEXT + 0x1000000
IMAGE_END = TEXT + 0x2000000
TRAMPOLINES = _at(0xFFFFFFFFA0000000, 0xFFFFDEB600000000)
MODULES = _at(0xFFFFFFFFC0000000, 0xFFFF80007A000000)
BPF = _at(0xFFFFFFFFC0A00000, 0xFFFF800080100000)
SLOTS = _at(0xFFFFFFFFC0F00000, 0xFFFF800080F00000)
HEAP = _at(0xFFFF888100000000, 0xFFFF000100000000)
HEAP_SIZE = 0x20000
STACK_SIZE = 0x4000
TASK_STACK = _at(0xFFFFC90000100000, 0xFFFF800083000000)
IRQ_STACK = _at(0xFFFFC90000200000, 0xFFFF800082000000)
NMI_STACK = _at(0xFFFFFE0000010000, 0xFFFF800082800000)
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
