# SPDX-License-Identifier: MIT
"""Layouts of the types of several kernels for x86-64."""

from __future__ import annotations

from typing import Any

from btf import COMMON, GRAPH_ENTRIES, GRAPH_WORDS, MODULE_LAYOUT, MODULE_MEMORY, Layout

_REGS = """
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
    unsigned long ip, cs, flags, sp, ss;
};
"""
_RETHOOK = """
struct rethook_node { long rcu[2]; struct llist_node llist; void *rethook;
    unsigned long ret_addr, frame; };
"""
_COMMON = _REGS + COMMON % "struct llist_head rethooks;" + _RETHOOK
_ORC = """
struct unwind_state { long info[4]; unsigned long sp, bp, ip; struct pt_regs *regs, *prev_regs; };
struct mod_arch_specific { unsigned int num_orcs; int *orc_unwind_ip;
    struct orc_entry *orc_unwind; };
"""
_FP = """
struct unwind_state { long info[4]; int got_irq; unsigned long *bp, *orig_sp, ip, *next_bp; };
struct mod_arch_specific { long nothing; };
"""
_ENTRY = """
struct orc_entry { short sp_offset, bp_offset; unsigned sp_reg:4; unsigned bp_reg:4; %s };
"""

# arch/x86/include/asm/orc_types.h: register numbers until 7.0, and since 7.1.
_REGISTERS = ("undefined", "cfa", "dx", "di", "bp", "sp", "r10", "r13", "bp_deref", "sp_deref")
UNTIL_7_0 = {name: number for number, name in enumerate(_REGISTERS)}
SINCE_7_1 = {
    "undefined": 0, "dx": 2, "sp": 3, "bp": 4, "di": 5, "r10": 6, "r13": 7, "cfa": 8,
    "sp_deref": 9, "bp_deref": 10,
}  # fmt: skip
_TWO_BITS = {"call": 0, "regs": 1, "partial": 2}
_THREE_BITS = {"undefined": 0, "end": 1, "call": 2, "regs": 3, "partial": 4}


def _orc(
    name: str, bits: str, module: str, graph: str, registers: dict[str, int], **rest: Any
) -> Layout:
    frames = _THREE_BITS if "type:3" in bits else _TWO_BITS
    types = _COMMON + _ORC + _ENTRY % bits + module + graph
    return Layout(name, types, registers, frames, "signal" in bits, **rest)


V6_1 = _orc(
    "6.1", "unsigned type:2; unsigned end:1;",
    MODULE_LAYOUT, GRAPH_ENTRIES, UNTIL_7_0, rdonly_cast=False,
)  # fmt: skip
V6_3 = _orc(
    "6.3", "unsigned type:2; unsigned signal:1; unsigned end:1;",
    MODULE_LAYOUT, GRAPH_ENTRIES, UNTIL_7_0, rdonly_cast=True,
)  # fmt: skip
V6_6 = _orc(
    "6.6", "unsigned type:3; unsigned signal:1;",
    MODULE_MEMORY, GRAPH_ENTRIES, UNTIL_7_0, rdonly_cast=True,
)  # fmt: skip
V6_12 = _orc(
    "6.12", "unsigned type:3; unsigned signal:1;",
    MODULE_MEMORY, GRAPH_WORDS, UNTIL_7_0, rdonly_cast=True,
)  # fmt: skip
V7_1 = _orc(
    "7.1", "unsigned type:3; unsigned signal:1;",
    MODULE_MEMORY, GRAPH_WORDS, SINCE_7_1, rdonly_cast=True, padding=16,
)  # fmt: skip
ORC = (V6_1, V6_3, V6_6, V6_12, V7_1)
FP_OLD = Layout(
    "fp", _COMMON + _FP + MODULE_LAYOUT + GRAPH_ENTRIES, {}, {}, False, False,
    frame_pointers=True,
)  # fmt: skip
FP_NEW = FP_OLD._replace(
    name="fp-new", types=_COMMON + _FP + MODULE_MEMORY + GRAPH_WORDS, rdonly_cast=True, padding=16
)
FP = (FP_OLD, FP_NEW)
ALL = ORC + FP
