/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * hook.bpf.h: return addresses that were replaced to trace the return, and the real ones.
 *
 * kretprobes (rethook) and the function-graph tracer (fgraph, also fprobe from 6.14 on) put
 * the address of a trampoline in place of a return address and keep the real one, with the
 * place on the stack that it was taken from, in lists of the task's.
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
#define KW_MAX_GRAPH	512 /* words of a shadow stack (SHADOW_STACK_SIZE), entries before 6.11 */

static __always_inline bool kw_may_be_hook(__u64 ip)
{
	return cfg.hook_first && ip - cfg.hook_first <= cfg.hook_span;
}

/* A replaced return address. */
static __always_inline bool kw_is_hooked(const struct kw_state *s)
{
	return kw_may_be_hook(s->ip) && (!s->regs || s->ip == cfg.rethook);
}

struct kw_hook_search {
	__u64 slot; /* where on the stack the replaced address stands */
	__u64 at;
	__u64 left;
	__u64 found;
};

static long kw_rethook_next(__u32 index, struct kw_hook_search *s)
{
	__u64 node = s->at - bpf_core_field_offset(struct rethook_node, llist), real;

	if (!s->at)
		return 1;
	real = kw_load_field(node, struct rethook_node, ret_addr);
	if (real != cfg.rethook && kw_load_field(node, struct rethook_node, frame) == s->slot) {
		s->found = real;
		return 1;
	}
	s->at = kw_load(s->at); /* llist_node.next */
	return 0;
}

/* rethook_find_ret_addr() in kernel/trace/rethook.c */
static __always_inline __u64 kw_rethook_address(__u64 task, __u64 slot)
{
	struct kw_hook_search search = {.slot = slot};

	if (!bpf_core_field_exists(struct task_struct, rethooks))
		return 0;
	search.at = kw_load_field(task, struct task_struct, rethooks);
	bpf_loop(KW_MAX_RETHOOKS, kw_rethook_next, &search, 0);
	return search.found;
}

/* Before 6.11: an array of ftrace_ret_stack, from the oldest up. */
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
 * Since 6.11: words, among them entries, from the newest down. The word below left holds in its
 * low 10 bits (FGRAPH_FRAME_OFFSET) how many words down its entry begins.
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
 * The return address at slot, where ip stands now; 0 if it can't be found. As in the kernel
 * (unwind_recover_ret_addr() in arch/x86/include/asm/unwind.h) the result is the graph
 * tracer's trampoline where a kretprobe came on top of that.
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
