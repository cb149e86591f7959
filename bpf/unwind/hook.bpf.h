/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * hook.bpf.h: recovery of return addresses that tracers replaced.
 *
 * kretprobes (rethook, or a list of their own) and the function-graph tracer (fgraph, also fprobe
 * from 6.14 on) replace a return address by a trampoline's. Lists of the task have the real
 * address, and a cookie (kw_hook_cookie()) to find it by.
 */
#ifndef KWALK_HOOK_H
#define KWALK_HOOK_H

#include "kernel.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/state.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_MAX_RETHOOKS 256
#define KW_MAX_GRAPH	512 /* words of a shadow stack (SHADOW_STACK_SIZE); entries before 6.11 */

/* Whether an address is, or lies between, the trampolines of the two tracers. */
static __always_inline bool kw_may_be_hook(__u64 ip)
{
	return cfg.hook_first && ip - cfg.hook_first <= cfg.hook_span;
}

/*
 * Whether s->ip is a replaced return address. An interrupted frame's ip is not one, unless the
 * interrupt came right behind the return to a kretprobe's trampoline.
 */
static __always_inline bool kw_is_hooked(const struct kw_state *s)
{
	return kw_may_be_hook(s->ip) && (!s->regs || s->ip == cfg.rethook);
}

/* Search of a task's list for a cookie. */
struct kw_hook_search {
	__u64 slot;  /* the cookie */
	__u64 at;    /* current entry */
	__u64 left;  /* entries, or words, that are left */
	__u64 found; /* the real address, or 0 */
};

/* An entry at s->at has this address and cookie: take it, or go on to the next one. */
static __always_inline long kw_hook_take(struct kw_hook_search *s, __u64 real, __u64 cookie)
{
	if (real != cfg.rethook && cookie == s->slot) {
		s->found = real;
		return 1;
	}
	s->at = kw_load(s->at); /* llist_node.next */
	return 0;
}

static long kw_rethook_next(__u32 index, struct kw_hook_search *s)
{
	__u64 node = s->at - bpf_core_field_offset(struct rethook_node, llist);

	if (!s->at)
		return 1;
	return kw_hook_take(s, kw_load_field(node, struct rethook_node, ret_addr),
			    kw_load_field(node, struct rethook_node, frame));
}

static long kw_kretprobe_next(__u32 index, struct kw_hook_search *s)
{
	__u64 instance = s->at - bpf_core_field_offset(struct kretprobe_instance, llist);

	if (!s->at)
		return 1;
	return kw_hook_take(s, kw_load_field(instance, struct kretprobe_instance, ret_addr),
			    kw_load_field(instance, struct kretprobe_instance, fp));
}

/* kretprobe_find_ret_addr() in kernel/kprobes.c */
static __always_inline __u64 kw_kretprobe_address(__u64 task, __u64 slot)
{
	struct kw_hook_search search = {.slot = slot};

	search.at = kw_load_field(task, struct task_struct, kretprobe_instances);
	bpf_loop(KW_MAX_RETHOOKS, kw_kretprobe_next, &search, 0);
	return search.found;
}

/* rethook_find_ret_addr() in kernel/trace/rethook.c */
static __always_inline __u64 kw_rethook_address(__u64 task, __u64 slot)
{
	struct kw_hook_search search = {.slot = slot};

	if (KW_KRETPROBE_LIST && bpf_core_field_exists(struct kretprobe_instance, fp))
		return kw_kretprobe_address(task, slot);
	if (!bpf_core_field_exists(struct task_struct, rethooks))
		return 0;
	search.at = kw_load_field(task, struct task_struct, rethooks);
	bpf_loop(KW_MAX_RETHOOKS, kw_rethook_next, &search, 0);
	return search.found;
}

/* Before 6.11: an array of struct ftrace_ret_stack, oldest first. */
static long kw_graph_entry(__u32 index, struct kw_hook_search *s)
{
	if (!s->left)
		return 1;
	if (kw_load_field(s->at, struct ftrace_ret_stack, retp) == s->slot) {
		s->found = kw_load_field(s->at, struct ftrace_ret_stack, ret);
		return 1;
	}
	s->at += bpf_core_type_size(struct ftrace_ret_stack);
	s->left--;
	return 0;
}

/*
 * Since 6.11: an array of words with entries among them, searched from the newest down. The low 10
 * bits (FGRAPH_FRAME_OFFSET) of the word below left are the words from its entry to it.
 */
static long kw_graph_word(__u32 index, struct kw_hook_search *s)
{
	__u64 top = s->left - 1, words, entry, real;

	if (!s->left)
		return 1;
	words = kw_load(s->at + top * 8) & 1023;
	if (!words || words > top)
		return 1;
	s->left = top - words;
	entry = s->at + s->left * 8;
	real = kw_load_field(entry, struct ftrace_ret_stack, ret);
	if (real != cfg.graph_return &&
	    kw_load_field(entry, struct ftrace_ret_stack, retp) == s->slot) {
		s->found = real;
		return 1;
	}
	return 0;
}

/* ftrace_graph_ret_addr() in kernel/trace/fgraph.c */
static __always_inline __u64 kw_graph_address(__u64 task, __u64 slot)
{
	struct kw_hook_search search = {.slot = slot};
	__s32 current;

	if (!bpf_core_field_exists(struct task_struct, ret_stack))
		return 0;
	search.at = kw_load_field(task, struct task_struct, ret_stack);
	current = kw_load_field(task, struct task_struct, curr_ret_stack);
	if (!search.at || current < 0)
		return 0;
	if (bpf_core_field_exists(struct fgraph_ops, idx)) {
		search.left = current;
		bpf_loop(KW_MAX_GRAPH, kw_graph_word, &search, 0);
	} else {
		search.left = current + 1;
		bpf_loop(KW_MAX_GRAPH, kw_graph_entry, &search, 0);
	}
	return search.found;
}

/*
 * The real return address for ip, found by its cookie; 0 if it is in no list. The result is the
 * graph tracer's trampoline where a kretprobe replaced that, as in unwind_recover_ret_addr() of
 * arch/x86/include/asm/unwind.h.
 */
__noinline __u64 kw_recover(__u64 ip, __u64 slot)
{
	__u64 task = bpf_get_current_task();

	if (ip == cfg.graph_return)
		ip = kw_graph_address(task, slot);
	if (ip && ip == cfg.rethook)
		ip = kw_rethook_address(task, slot);
	return ip;
}

#endif /* KWALK_HOOK_H */
