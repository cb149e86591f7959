# SPDX-License-Identifier: MIT
"""Layouts of the types of several kernels for arm64."""

from __future__ import annotations

from btf import COMMON, GRAPH_ENTRIES, GRAPH_WORDS, MODULE_LAYOUT, MODULE_MEMORY, Layout

# With a second name, by which CO-RE looks for the member stackframe of one type only.
_REGS = "struct %s { unsigned long regs[31], sp, pc, pstate, orig_x0; %s };\n"
_UNTIL_6_12 = """int syscallno, unused2; unsigned long sdei_ttbr1, pmr_save;
    unsigned long stackframe[2]; unsigned long lockdep_hardirqs, exit_rcu;"""
_SINCE_6_13 = """int syscallno; unsigned int pmr; unsigned long sdei_ttbr1;
    struct frame_record_meta stackframe; unsigned long lockdep_hardirqs, exit_rcu;"""
_PAIR = "".join(_REGS % (name, _UNTIL_6_12) for name in ("pt_regs", "pt_regs___pair"))
_META = """
struct frame_record { unsigned long fp, lr; };
struct frame_record_meta { struct frame_record record; unsigned long type; };
""" + "".join(_REGS % (name, _SINCE_6_13) for name in ("pt_regs", "pt_regs___meta"))
_KRETPROBES = """
struct kretprobe_instance { long rcu[2]; struct llist_node llist; void *rph;
    unsigned long ret_addr; void *fp; char data[]; };
struct mod_arch_specific { long nothing; };
struct unwind_state { unsigned long fp, pc; };
"""
_COMMON = COMMON % "struct llist_head kretprobe_instances;" + _KRETPROBES


def _layout(name: str, types: str, rdonly_cast: bool) -> Layout:
    return Layout(name, types, {}, {}, False, rdonly_cast, frame_pointers=True)


V6_1 = _layout("6.1", _PAIR + _COMMON + MODULE_LAYOUT + GRAPH_ENTRIES, False)
V6_12 = _layout("6.12", _PAIR + _COMMON + MODULE_MEMORY + GRAPH_WORDS, True)
V7_1 = _layout("7.1", _META + _COMMON + MODULE_MEMORY + GRAPH_WORDS, True)
ORC: tuple[Layout, ...] = ()
FP = ALL = (V6_1, V6_12, V7_1)
FP_NEW = V7_1
