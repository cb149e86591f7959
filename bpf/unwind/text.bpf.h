/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * text.bpf.h: the code that holds an address: vmlinux, a module, an ftrace trampoline, BPF, or
 * none.
 *
 * These are the parts of __kernel_text_address() in kernel/extable.c. No result for code that can
 * be freed is kept from one hit to the next: other code may take its address.
 */
#ifndef KWALK_TEXT_H
#define KWALK_TEXT_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/latch.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_MAX_OPS 4096

static __always_inline bool kw_in_vmlinux(__u64 ip)
{
	return ip - cfg.text_start < cfg.text_end - cfg.text_start;
}

/* .init.text: freed after boot, but still in stacks of tasks that it called. */
static __always_inline bool kw_in_init_text(__u64 ip)
{
	return ip - cfg.init_start < cfg.init_end - cfg.init_start;
}

/* Whether a tracer's call at the entry of func can return to ip. */
static __always_inline bool kw_is_entry(__u64 func, __u64 ip)
{
	return ip - func <= KW_ENTRY_BYTES;
}

/* The struct module with ip in its text, 0, or KW_TREE_UNKNOWN: __module_text_address(). */
__noinline __u64 kw_module_of(__u64 ip)
{
	struct kw_tree_search search = {.ip = ip};
	__u64 node, memory, module;

	if (!cfg.mod_tree) /* first: kernels without modules have none of the types below */
		return 0;
	if (bpf_core_field_exists(struct module, mem)) {
		search.start = kw_distance(struct module, mem[0].mtn.node, mem[0].base);
		search.size = kw_distance(struct module, mem[0].mtn.node, mem[0].size);
		node = kw_tree_find(cfg.mod_tree, &search);
		if (node <= KW_TREE_UNKNOWN)
			return node;
		module =
		    kw_load(node + kw_distance(struct module, mem[0].mtn.node, mem[0].mtn.mod));
		memory = node - kw_distance(struct module, mem[0], mem[0].mtn.node) -
			 (module + bpf_core_field_offset(struct module, mem[0]));
		if (memory != bpf_core_enum_value(enum mod_mem_type, MOD_TEXT) *
				  kw_distance(struct module, mem[0], mem[1]) &&
		    memory != bpf_core_enum_value(enum mod_mem_type, MOD_INIT_TEXT) *
				  kw_distance(struct module, mem[0], mem[1]))
			return 0;
		return module;
	}
	search.start = kw_distance(struct module, core_layout.mtn.node, core_layout.base);
	search.size = kw_distance(struct module, core_layout.mtn.node, core_layout.text_size);
	node = kw_tree_find(cfg.mod_tree, &search);
	if (node <= KW_TREE_UNKNOWN)
		return node;
	return kw_load(node +
		       kw_distance(struct module, core_layout.mtn.node, core_layout.mtn.mod));
}

/*
 * The struct latch_tree_node of the BPF program, trampoline or dispatcher that holds ip, 0, or
 * KW_TREE_UNKNOWN: is_bpf_text_address().
 */
__noinline __u64 kw_in_bpf(__u64 ip)
{
	struct kw_tree_search search = {
	    .ip = ip,
	    .start = kw_distance(struct bpf_ksym, tnode, start),
	    .end = kw_distance(struct bpf_ksym, tnode, end),
	};

	return cfg.bpf_tree ? kw_tree_find(cfg.bpf_tree, &search) : 0;
}

#define KW_NAME_WORDS 8 /* words of struct bpf_ksym.name in the hash */

/*
 * Identity of the module or BPF program that holds ip, which earlier code at the address did not
 * have; 0: unknown. User space computes the same (symbolize/dynamic_code.py).
 *
 * Modules: the low half of kernfs_node.id of /sys/module/NAME (its st_ino), unique to each load.
 * BPF code: a hash of its name.
 */
__noinline __u32 kw_code_at(__u64 ip, __u32 source)
{
	__u64 found, name, hash = 0;
	__u32 i;

	if (source == KW_SOURCE_MODULE) {
		/* Kernels without modules, or sysfs, have none of the types below. */
		if (!cfg.mod_tree || !bpf_core_field_exists(struct kernfs_node, id))
			return 0;
		found = kw_module_of(ip);
		if (found <= KW_TREE_UNKNOWN)
			return 0;
		found = kw_load_field(found, struct module, mkobj.kobj.sd);
		return found ? kw_load_field(found, struct kernfs_node, id) : 0;
	}
	if (source != KW_SOURCE_BPF)
		return 0;
	found = kw_in_bpf(ip);
	if (found <= KW_TREE_UNKNOWN)
		return 0;
	name = found + kw_distance(struct bpf_ksym, tnode, name);
	for (i = 0; i < KW_NAME_WORDS; i++)
		hash = (hash ^ kw_load(name + i * sizeof(hash))) * 0x9e3779b97f4a7c15ULL;
	return hash >> 32;
}

/* Search of the list of struct ftrace_ops for the trampoline that holds an address. */
struct kw_ops_search {
	__u64 ip;
	__u64 ops; /* struct ftrace_ops */
	__u64 found;
	__u64 done;
};

#define KW_OPS_UNKNOWN 1 /* result of a search: more than KW_MAX_OPS entries */

static long kw_ops_next(__u32 index, struct kw_ops_search *s)
{
	__u64 start = kw_load_field(s->ops, struct ftrace_ops, trampoline);

	if (start && s->ip - start < kw_load_field(s->ops, struct ftrace_ops, trampoline_size)) {
		s->found = s->ops;
		return 1;
	}
	s->ops = kw_load_field(s->ops, struct ftrace_ops, next);
	s->done = !s->ops || s->ops == cfg.ftrace_list_end;
	return s->done;
}

/*
 * The address in vmlinux that ip, in an ftrace trampoline, was copied from; 0 if ip is in none, or
 * KW_OPS_UNKNOWN. orc_ftrace_find() in unwind_orc.c, ftrace_ops_trampoline() in
 * kernel/trace/ftrace.c.
 */
__noinline __u64 kw_ftrace_original(__u64 ip)
{
	const __u64 save_regs = 1 << 2; /* FTRACE_OPS_FL_SAVE_REGS */
	struct kw_ops_search search = {.ip = ip};
	__u64 original;

	if (!cfg.ftrace_ops_list)
		return 0;
	search.ops = kw_load(cfg.ftrace_ops_list);
	bpf_loop(KW_MAX_OPS, kw_ops_next, &search, 0);
	if (!search.found)
		return search.done ? 0 : KW_OPS_UNKNOWN;
	original = kw_load_field(search.found, struct ftrace_ops, flags) & save_regs
		       ? cfg.ftrace_regs_caller
		       : cfg.ftrace_caller;
	return original + ip - kw_load_field(search.found, struct ftrace_ops, trampoline);
}

#define KW_MAX_SLOT_PAGES 1024
#define KW_PAGE_SIZE	  4096

/* Search of a cache of instruction slots for the page that holds an address. */
struct kw_slot_search {
	__u64 ip;
	__u64 head; /* kprobe_insn_cache.pages */
	__u64 at;   /* kprobe_insn_page.list */
	__u32 found;
	__u32 done;
};

static long kw_slot_next(__u32 index, struct kw_slot_search *s)
{
	__u64 page = s->at - bpf_core_field_offset(struct kprobe_insn_page, list);

	s->done = s->at == s->head;
	if (!s->at || s->done)
		return 1;
	s->found = s->ip - kw_load_field(page, struct kprobe_insn_page, insns) < KW_PAGE_SIZE;
	s->at = kw_load(s->at); /* list_head.next */
	return s->found;
}

/*
 * Whether ip may be in an instruction slot, where kprobes run the instructions they replaced:
 * is_kprobe_insn_slot(), is_kprobe_optinsn_slot(). cache: 0 if unknown.
 */
__noinline int kw_may_be_slot(__u64 cache, __u64 ip)
{
	struct kw_slot_search search = {.ip = ip};

	if (!bpf_core_type_exists(struct kprobe_insn_page))
		return false; /* no kprobes */
	if (!cache)
		return true;
	search.head = cache + bpf_core_field_offset(struct kprobe_insn_cache, pages);
	search.at = kw_load(search.head);
	bpf_loop(KW_MAX_SLOT_PAGES, kw_slot_next, &search, 0);
	return search.found || !search.done;
}

#endif /* KWALK_TEXT_H */
