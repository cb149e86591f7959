# SPDX-License-Identifier: MIT
"""Generation of a program for hot stacks: the comparison, and what a known stack does.

The program is called by the entry program of a probe for each hit, and either counts the hit or
returns to the entry program (bpf/trace/hot.bpf.h).
"""

from __future__ import annotations

from typing import NamedTuple

from kwalk.abi import HOT, HOT_ENTRY, HOT_LEAVES, HOT_MISS, JUMPED, NODE
from kwalk.arch import here
from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget
from kwalk.insn import Alu, Assembler, Helper, Jump, Reg
from kwalk.probe.hot_entry import LEAF_BYTES, leaf_at, rows
from kwalk.transport.context_tree import HOT_INDEX, NODE_BYTES, PER_CPU

_CPU_BYTES = PER_CPU * NODE_BYTES
_HOT = _CPU_BYTES + HOT_INDEX * NODE_BYTES  # on CPU 0
_COUNT = NODE.offset("count")
_RESUME = HOT.offset("resume")


class Maps(NamedTuple):
    """Maps of the entry program, and sizes.

    :ivar tree: Descriptor of the calling-context tree.
    :ivar leaves: Descriptor of the nodes where stacks end.
    :ivar hot: Descriptor of the array of programs.
    :ivar node_mask: ``kw_config.node_mask``.
    :ivar cpus: Possible CPUs.
    """

    tree: int
    leaves: int
    hot: int
    node_mask: int
    cpus: int


def generate(root: HotFrame, start: HotStart, kernel: HotKernel, maps: Maps, counts: bool) -> bytes:
    """Return the instructions of a program for the stacks under ``root``.

    :param counts: Known stacks are counted by it; otherwise the entry program uses them.
    :raises Unsupported: if a stack cannot be followed.
    """
    writer = _Writer(start, maps, counts)
    asm = writer.asm
    asm.mov(Reg.R8, Reg.R1)
    here().emit_hot(root, start, kernel, HotTarget(asm, writer.accept, "miss", writer.context))
    writer.finish()
    return asm.assemble()


class _Writer:
    """Emits all but the comparison."""

    def __init__(self, start: HotStart, maps: Maps, counts: bool) -> None:
        self.asm = Assembler()
        self._maps, self._counts = maps, counts
        self._flags = JUMPED if start.fentry and not start.returns else 0

    def _cpu(self) -> None:
        """R0 = the number of this CPU, with a limit that the verifier knows."""
        self.asm.call(Helper.GET_SMP_PROCESSOR_ID)
        self.asm.alu(Alu.AND, Reg.R0, rows(self._maps.cpus) - 1)

    def _part(self, off: int) -> None:
        """R2 = the address of a byte in this CPU's part of the tree, a node's first."""
        asm = self.asm
        self._cpu()
        asm.alu(Alu.LSH, Reg.R0, _CPU_BYTES.bit_length() - 1)
        asm.alu(Alu.ADD, Reg.R0, off)
        asm.alu(Alu.AND, Reg.R0, self._maps.node_mask)
        asm.load_map_value(Reg.R2, self._maps.tree)
        asm.alu(Alu.ADD, Reg.R2, Reg.R0)

    def context(self) -> None:
        """R1 = the context as a number."""
        self._part(_HOT)
        self.asm.load(Reg.R1, Reg.R2, HOT.offset("context"))

    def accept(self, number: int) -> None:
        """The stack is known: count it in this CPU's node, or return with that node."""
        asm, maps = self.asm, self._maps
        self._cpu()
        asm.alu(Alu.LSH, Reg.R0, (HOT_LEAVES * LEAF_BYTES).bit_length() - 1)
        asm.load_map_value(Reg.R1, maps.leaves, leaf_at(0, number))
        asm.alu(Alu.ADD, Reg.R1, Reg.R0)
        asm.load(Reg.R1, Reg.R1, 0, size=4)
        asm.jump_if(Jump.EQ, Reg.R1, 0, "miss")
        if not self._counts:
            asm.mov(Reg.R7, Reg.R1)
            asm.jump("resume")
            return
        asm.alu(Alu.AND, Reg.R1, maps.node_mask)
        asm.load_map_value(Reg.R2, maps.tree)
        asm.alu(Alu.ADD, Reg.R2, Reg.R1)
        asm.load(Reg.R1, Reg.R2, _COUNT)
        asm.alu(Alu.ADD, Reg.R1, 1)
        asm.store(Reg.R2, _COUNT, Reg.R1)
        asm.exit()

    def finish(self) -> None:
        """Return to the entry program, with the known stack's node or without."""
        asm = self.asm
        if not self._counts:
            asm.place("resume")
            if self._flags:
                asm.load_number(Reg.R1, self._flags << 32)
                asm.alu(Alu.ADD, Reg.R7, Reg.R1)
            asm.jump("return")
        asm.place("miss")
        asm.mov(Reg.R7, HOT_MISS)
        asm.place("return")
        self._part(_HOT)
        asm.store(Reg.R2, _RESUME, Reg.R7)
        asm.mov(Reg.R1, Reg.R8)
        asm.load_map(Reg.R2, self._maps.hot)
        asm.mov(Reg.R3, HOT_ENTRY)
        asm.call(Helper.TAIL_CALL)
        asm.exit()
