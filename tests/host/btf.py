# SPDX-License-Identifier: MIT
"""Layouts of the kernel's types, abridged: their BTF, as CO-RE would see it."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from cffi import FFI, CDefError

# struct pt_regs and struct mod_arch_specific come before; %s is the end of struct task_struct.
COMMON = """
struct list_head { struct list_head *next, *prev; };
struct llist_node { struct llist_node *next; };
struct llist_head { struct llist_node *first; };
struct rb_node { unsigned long parent_color; struct rb_node *rb_right, *rb_left; };
struct rb_root { struct rb_node *rb_node; };
struct latch_tree_node { struct rb_node node[2]; };
struct seqcount { unsigned int sequence; };
struct latch_tree_root { struct seqcount seq; struct rb_root tree[2]; };
struct mod_tree_node { struct module *mod; struct latch_tree_node node; };
struct kernfs_node { int count, active; void *parent, *name; unsigned long long id; };
struct kobject { char *name; struct list_head entry; void *parent, *kset; void *ktype;
    struct kernfs_node *sd; };
struct module_kobject { struct kobject kobj; struct module *mod; };
struct bpf_ksym { unsigned long start, end; char name[512]; struct list_head lnode;
    struct latch_tree_node tnode; int prog; };
struct ftrace_ops { void *func; struct ftrace_ops *next; unsigned long flags; void *private;
    unsigned long trampoline, trampoline_size; struct list_head list; };
struct dyn_ftrace { unsigned long ip, flags; };
struct ftrace_page { struct ftrace_page *next; struct dyn_ftrace *records; int index, order; };
struct kprobe_insn_cache { long mutex[4]; void *alloc, *free; char *sym; struct list_head pages;
    unsigned long insn_size; int nr_garbage; };
struct kprobe_insn_page { struct list_head list; void *insns; void *cache; int nused; };
struct vm_struct { void *next, *addr; unsigned long size, flags; void **pages;
    unsigned int page_order; unsigned int nr_pages; };
struct upid { int nr; struct pid_namespace *ns; };
struct pid { int count; unsigned int level; long lock; void *tasks[4]; struct upid numbers[1]; };
struct cgroup { void *self[3]; unsigned long flags; int level; int max_depth; };
struct css_set { void *subsys[4]; int refcount; struct css_set *dom_cset;
    struct cgroup *dfl_cgrp; };
struct task_struct { unsigned long flags; void *stack; int usage; int pid; int tgid;
    struct task_struct *group_leader; struct pid *thread_pid; char comm[16];
    void *nsproxy; struct css_set *cgroups; struct vm_struct *stack_vm_area; unsigned long nivcsw;
    int curr_ret_stack; int curr_ret_depth; void *ret_stack; %s };
struct bpf_perf_event_data_kern { struct pt_regs *regs; void *data, *event; };
struct bpf_prog_aux { long refcnt; unsigned int used_map_cnt, id; };
struct bpf_prog { unsigned short pages; unsigned int len; void *stats; int *active;
    void *bpf_func; struct bpf_prog_aux *aux; };
"""
MODULE_LAYOUT = """
struct module_layout { void *base; unsigned int size, text_size, ro_size, ro_after_init_size;
    struct mod_tree_node mtn; };
struct module { int state; struct list_head list; char name[56]; struct module_kobject mkobj;
    long between[5]; struct module_layout core_layout, init_layout;
    struct mod_arch_specific arch; };
"""
MODULE_MEMORY = """
enum mod_mem_type { MOD_TEXT, MOD_DATA, MOD_RODATA, MOD_RO_AFTER_INIT, MOD_INIT_TEXT,
    MOD_INIT_DATA, MOD_INIT_RODATA };
struct module_memory { void *base; unsigned int size; struct mod_tree_node mtn; };
struct module { int state; struct list_head list; char name[56]; struct module_kobject mkobj;
    long between[7]; struct module_memory mem[7]; struct mod_arch_specific arch; };
"""
GRAPH_ENTRIES = """
struct ftrace_ret_stack { unsigned long ret, func; unsigned long long calltime;
    unsigned long *retp; };
struct fgraph_ops { void *entryfunc, *retfunc; };
struct bpf_link_info { int type; union { struct { int probe; union { struct { int name; } kprobe;
    }; } perf_event; }; };
"""
GRAPH_WORDS = """
struct ftrace_ret_stack { unsigned long ret, func; unsigned long *retp; };
struct fgraph_ops { void *entryfunc, *retfunc; void *private; int idx; };
struct bpf_link_info { int type; union { struct { int probe; union { struct { int name;
    unsigned long long missed; } kprobe; }; } perf_event; }; };
"""


class Layout(NamedTuple):
    """Types of a kernel.

    :ivar registers: Register name -> number in ``struct orc_entry``.
    :ivar frames: Frame type -> number; without an ``end``, ends of stacks have a bit of their own.
    :ivar signal: ``struct orc_entry`` has a ``signal`` bit for interrupted frames.
    :ivar rdonly_cast: The kernel has ``bpf_rdonly_cast()``.
    :ivar padding: Bytes between a task's registers and the top of its stack.
    """

    name: str
    types: str
    registers: dict[str, int]
    frames: dict[str, int]
    signal: bool
    rdonly_cast: bool
    padding: int = 0
    frame_pointers: bool = False

    def __repr__(self) -> str:
        return self.name

    @property
    def graph_words(self) -> bool:
        """Whether the graph tracer's shadow stack is an array of words."""
        return GRAPH_WORDS in self.types

    @property
    def kretprobe_list(self) -> bool:
        """Whether kretprobes keep return addresses in a list of their own, not rethook's."""
        return "struct kretprobe_instance" in self.types

    @property
    def module_memory(self) -> bool:
        """Whether struct module has an array of struct module_memory."""
        return MODULE_MEMORY in self.types


class Types:
    """Offsets and sizes of the types of a layout."""

    def __init__(self, types: str, without: frozenset[str] = frozenset()) -> None:
        self._ffi: Any = FFI()
        # struct orc_entry is packed: 6 bytes.
        entry = re.search(r"struct orc_entry \{.*?\};", types, re.S)
        self._ffi.cdef(types.replace(entry[0], "") if entry else types)
        if entry:
            self._ffi.cdef(entry[0], packed=True)
        self._without = without
        self._offsets: dict[tuple[str, str], int] = {}

    def _type(self, name: str) -> Any:
        if name in self._without:
            raise KeyError(name)
        try:
            found = self._ffi.typeof(name)
            self._ffi.sizeof(found)
        except (CDefError, TypeError, ValueError):
            raise KeyError(name) from None
        return found

    def size(self, name: str) -> int:
        return int(self._ffi.sizeof(self._type(name)))

    def offset(self, name: str, path: str) -> int:
        """Return the offset in bytes of a member such as ``mem[0].base``.

        :raises KeyError: if the type has no such member.
        """
        known = self._offsets.get((name, path))
        if known is None:
            known = self._offsets[name, path] = self._offset(name, path)
        return known

    def _offset(self, name: str, path: str) -> int:
        if f"{name}, {path}" in self._without:
            raise KeyError(path)
        steps: list[Any] = [
            int(step) if step.isdigit() else step for step in re.findall(r"\w+", path)
        ]
        try:
            return int(self._ffi.offsetof(self._type(name), *steps))
        except (KeyError, TypeError, IndexError):
            raise KeyError(path) from None

    def enum_value(self, enum: str, name: str) -> int:
        return int(self._type(enum).relements[name])

    def bits(self, name: str, field: str) -> tuple[int, int]:
        """Return offset and width of a bit field, in bits."""
        found = dict(self._type(name).fields)[field]
        if found.bitsize < 0:
            return found.offset * 8, self._ffi.sizeof(found.type) * 8
        return found.offset * 8 + found.bitshift, found.bitsize


@functools.cache
def types(text: str, without: frozenset[str]) -> Types:
    """Return the memoized types of a layout, without some members and types."""
    return Types(text, without)


# Type of a variable's name in bpf/.
_VARIABLES = {"orc": "struct orc_entry"}
OFFSET, EXISTS, TYPE_SIZE, TYPE_EXISTS, ENUM_VALUE, SHIFT, BITFIELD = range(7)


def answer(known: Types, question: int, about: str) -> int:
    """Resolve a CO-RE relocation that ``stand_in/bpf/bpf_core_read.h`` asks for."""
    name, _, path = about.replace("->", ", ").partition(", ")
    name = _VARIABLES.get(name, name)
    try:
        if question in (TYPE_SIZE, TYPE_EXISTS):
            return known.size(name) if question == TYPE_SIZE else bool(known.size(name))
        if question == ENUM_VALUE:
            return known.enum_value(name, path)
        if question in (SHIFT, BITFIELD):
            shift, bits = known.bits(name, path)
            return 64 - bits if question == SHIFT else shift | bits << 8
        found = known.offset(name, path)
    except KeyError:
        if question in (EXISTS, TYPE_EXISTS):
            return 0
        return ABSENT
    return 1 if question == EXISTS else found


# For a missing member libbpf emits an instruction that must not be reached; as an offset, this
# value leads to no memory.
ABSENT = 0x7EADBEEF
