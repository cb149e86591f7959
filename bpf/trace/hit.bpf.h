/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * hit.bpf.h: the path of a hit: filter, unwind, compare, then count or send.
 */
#ifndef KWALK_HIT_H
#define KWALK_HIT_H

#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "trace/filter.bpf.h"
#include "trace/hot.bpf.h"
#include "trace/group.bpf.h"
#include "trace/event.bpf.h"
#include "trace/verify.bpf.h"
#include "trace/helper.bpf.h"
#include "trace/start.bpf.h"
#include KW_ARCH_WALK
#include KW_ARCH_ENTRY
#include <bpf/bpf_helpers.h>

/*
 * Fall back to the kernel's unwinder. Returns the node of its stack, 0 if it has none; *flags
 * become the flags of that stack.
 */
static __always_inline __u32 kw_fall_back(struct kw_scratch *sc, __u32 *flags)
{
	__u64 mark = sc->walk.nr > 1 ? sc->walk.frames[1] : 1;
	__u32 at;

	if (*flags & KW_EV_JUMPED)
		mark &= ~(1ULL << 63);
	at = kw_add_kernels(sc, mark);
	if (sc->kernel.flags & KW_EV_TRUNCATED)
		kw_count_full();
	*flags = (*flags & ~KW_EV_TRUNCATED) | KW_EV_FALLBACK | sc->kernel.flags;
	return at;
}

/*
 * Compare the walk with the kernel's unwinder if this hit is to be verified; fall back if the walk
 * is uncertain or distrusted. Returns the node of the hit's stack, 0 if there is none.
 */
static __always_inline __u32 kw_check(void *ctx, struct kw_walk *w, __u64 hits, int step)
{
	bool distrust = cfg.self_check && *(volatile __u32 *)&control.distrust;
	bool fall_back = step == KW_STEP_UNKNOWN || distrust;
	struct kw_scratch *sc;

	if (!fall_back && !kw_must_verify(hits))
		return w->node;
	sc = kw_scratch();
	if (!sc)
		return 0;
	sc->func = cfg.many ? w->func : cfg.func;
	sc->switched = kw_caller_elsewhere(w);
	kw_read_frames(sc, w->node);
	sc->walk.flags = w->flags;
	if (!kw_ask_kernel(ctx, sc))
		return fall_back ? 0 : w->node;
	if (fall_back)
		return kw_fall_back(sc, &w->flags);
	if (kw_verify(ctx, sc) != KW_DIFFERENT)
		return w->node;
	w->flags |= KW_EV_DIFFERS;
	if (!cfg.self_check) {
		w->other = kw_add_kernels(sc, 1);
		return w->node;
	}
	control.distrust = 1;
	w->other = w->node;
	return kw_fall_back(sc, &w->flags);
}

/* Finish a walk that is not merely counted. Returns the node of the stack, 0 if it is lost. */
static __always_inline __u32 kw_walked(void *ctx, void *nodes, struct kw_walk *w, __u64 hits,
				       int step)
{
	struct kw_counters *c;
	__u32 at;

	w->other = 0;
	if (w->s.stacked)
		w->flags |= KW_EV_STACKED;
	if (step == KW_STEP_CUT) {
		w->flags |= KW_EV_TRUNCATED;
		if (kw_at(nodes, w->node)->kind != KW_NODE_CUT)
			kw_count_full();
	}
	at = kw_check(ctx, w, hits, step);
	if (!at) {
		c = kw_counters();
		if (c)
			c->lost_efault++;
	}
	return at;
}

/* A node of FUNC's caller if the kernel's stack lacks FUNC (KW_EV_JUMPED), else 0. */
static __always_inline __u32 kw_find_caller(void *ctx, void *nodes, struct kw_walk *w, bool fentry)
{
	__u64 ip;

	if (!fentry || !kw_jumped_caller(ctx, w, &ip))
		return 0;
	return kw_child(nodes, KW_CPU_BYTES, ip, KW_NODE_KERNEL);
}

/* A hit of the helper method. */
static __always_inline void kw_helper_hit(void *ctx, void *nodes, struct kw_walk *w, bool fentry)
{
	struct kw_event event = {};
	struct kw_counters *c;
	__s64 id;

	/* Shared by all CPUs, as part of the key in the map counted. */
	if (cfg.many)
		event.node = kw_child(nodes, KW_CPU_BYTES, w->func, KW_NODE_FUNCTION);
	else
		event.node = kw_find_caller(ctx, nodes, w, fentry);
	event.flags = w->flags;
	id = kw_stack_id(ctx, &event.flags);
	event.stack_id = id;
	if (id >= 0 && cfg.output != KW_OUTPUT_COUNT) {
		kw_submit(&event, nodes);
		return;
	}
	c = kw_counters();
	if (c && id < 0)
		kw_count_helper_loss(c, id);
	else if (c)
		kw_count_stack(c, id, event.node, w->weight);
}

/*
 * Count a stack, in its group, or send a record of it. With generated programs, count it in any
 * case: user space makes them for the stacks that are seen most.
 */
static __always_inline void kw_deliver(void *ctx, void *nodes, struct kw_walk *w, const bool hot)
{
	struct kw_event event = {};

	event.node = w->node;
	event.other = w->other;
	event.flags = w->flags;
	if (cfg.method == KW_BOTH) {
		event.stack_id = kw_stack_id(ctx, &event.flags);
		if (event.stack_id < 0)
			event.flags |= KW_EV_NO_ID;
	}
	if (cfg.output != KW_OUTPUT_COUNT) {
		if (hot)
			kw_at(nodes, event.node)->count++;
		kw_submit(&event, nodes);
		return;
	}
	if (cfg.per) {
		event.node = kw_of_group(nodes, w->node);
		if (event.node == w->node)
			kw_count_full();
	}
	if (event.flags & KW_EV_TRUNCATED)
		kw_at(nodes, event.node)->cut++;
	else
		kw_at(nodes, event.node)->count++;
	kw_weigh(event.node, w->weight);
}

/* Program type. */
enum kw_way {
	KW_BY_KPROBE,	   /* kprobe or kretprobe */
	KW_BY_MULTI,	   /* kprobe.multi */
	KW_BY_TRAMPOLINE,  /* fentry or fexit */
	KW_BY_TRAMPOLINES, /* fentry.multi or fexit.multi, whose cookies are the FUNCs' addresses */
	KW_BY_TRACEPOINT,
	KW_BY_SAMPLE, /* perf event */
};

/*
 * Take a hit: unwind it and use the stack. way is a compile-time constant. Everything but counting
 * by the manual method is behind cfg.slow and cfg.special, at no cost to that. frame: a tracepoint
 * program's own frame (R10), otherwise ctx. known: kw_hot.resume of a stack that a generated
 * program has walked, otherwise 0.
 */
static __always_inline void kw_take_hit(void *ctx, void *frame, void *nodes, struct kw_cpu *cpu,
					__u32 root, const enum kw_way way, const bool hot,
					__u64 known)
{
	const bool fentry = way == KW_BY_TRAMPOLINE || way == KW_BY_TRAMPOLINES;
	const __u32 slow = cfg.slow, special = cfg.special;
	struct kw_walk *w = &cpu->walk;
	struct kw_node *node;
	int step;

	w->node = root;
	w->flags = 0;
	w->s.regs = 0;
	w->s.stacked = 0;
	if (way == KW_BY_TRAMPOLINES || (special && cfg.many))
		w->func = way == KW_BY_MULTI ? bpf_get_func_ip(ctx) : bpf_get_attach_cookie(ctx);
	*(volatile __u64 *)&w->ctx = (__u64)frame; /* through memory: a number to the verifier */
	if (way == KW_BY_SAMPLE && kw_in_user_mode(w)) {
		kw_count_user_mode();
		return;
	}
	if (slow && cfg.method == KW_HELPER) {
		kw_helper_hit(ctx, nodes, w, fentry);
		return;
	}
	if (hot && known)
		step = KW_STEP_END;
	else if (way == KW_BY_TRACEPOINT)
		step = kw_start_tracepoint(w);
	else if (way == KW_BY_SAMPLE)
		step = kw_start_sample(w);
	else
		step = fentry
			   ? kw_start_fentry(w, ctx, way == KW_BY_TRAMPOLINES ? w->func : cfg.func,
					     hot ? &cpu->hot : NULL)
			   : kw_start_kprobe(w, ctx);
	if (way == KW_BY_TRAMPOLINES || (special && cfg.many)) {
		w->node = kw_of_function(nodes, root, w->func);
		if (w->node == root)
			step = KW_STEP_CUT;
	}
	if (hot && known) {
		w->flags = known >> 32;
		node = kw_at(nodes, known);
	} else {
		step = kw_walk(w, nodes, step, &node);
	}
	if (step == KW_STEP_END && !slow) {
		node->count++;
		if (special)
			kw_weigh((void *)node - nodes, w->weight);
		return;
	}
	/* Through memory: one unknown number to the verifier, from whichever round it comes. */
	*(volatile __u32 *)&w->node = (void *)node - nodes;
	*(volatile int *)&w->step = step;
	step = *(volatile int *)&w->step;
	w->node = kw_walked(ctx, nodes, w, cpu->walked.hits - cpu->kernel.hits, step);
	if (w->node)
		kw_deliver(ctx, nodes, w, hot);
}

/* How often the current task was preempted so far: __schedule() in kernel/sched/core.c. */
static __always_inline __u64 kw_preemptions(void)
{
	return kw_load_field(bpf_get_current_task(), struct task_struct, nivcsw);
}

/* nested: the program is of a level above 0, a compile-time constant. */
static __always_inline int kw_hit(void *ctx, void *frame, const enum kw_way way, const bool nested)
{
	const __u32 special = cfg.special;
	struct kw_counters *c;
	struct kw_cpu *cpu;
	__u64 start = 0, preempted = 0;
	__u32 root;
	void *nodes;

	if (special && kw_filtered())
		return 0;
	root = kw_part_offset(nested);
	nodes = kw_tree();
	if (!nodes)
		return 0; /* impossible: the map has this one element */
	cpu = kw_cpu_at(nodes, root);
	cpu->walked.hits++;
	if (special && cfg.sampled) {
		if (kw_sampled_out(nodes, cpu))
			return 0;
		preempted = kw_preemptions();
		start = bpf_ktime_get_ns();
	}
	kw_take_hit(ctx, frame, nodes, cpu, root, way, false, 0);
	if (special && cfg.sampled) {
		c = kw_counters();
		start = bpf_ktime_get_ns() - start;
		if (c && preempted == kw_preemptions())
			c->taken_ns += start;
	}
	return 0;
}

/*
 * Like kw_hit(), with generated programs for hot stacks. Never with cfg.sampled or cfg.many. The
 * second run for a hit, after the generated program, begins at known != 0; the kernel runs nothing
 * of this probe's level 0 on this CPU in between.
 */
static __always_inline int kw_hot_hit(void *ctx, const enum kw_way way)
{
	__u32 root = kw_part_offset(false);
	void *nodes = kw_tree();
	struct kw_cpu *cpu;
	__u64 known;

	if (!nodes)
		return 0; /* impossible: the map has this one element */
	cpu = kw_cpu_at(nodes, root);
	known = cpu->hot.resume;
	if (!known) {
		if (cfg.special && kw_filtered())
			return 0;
		if (++cpu->walked.hits > cfg.self_check) {
			cpu->hot.context = (__u64)ctx;
			kw_tail_call(ctx, &hot, KW_HOT_PROGRAM);
		}
		cpu->hot.unassisted++;
	} else {
		cpu->hot.resume = 0;
		if (known == KW_HOT_MISS) {
			cpu->hot.missed++;
			known = 0;
		}
	}
	kw_take_hit(ctx, ctx, nodes, cpu, root, way, true, known);
	return 0;
}

/*
 * Levels above 0: addresses of int *bpf_prog->active of the levels below, for each CPU. User space
 * writes them before attaching. 0: there is no such level.
 */
__u64 actives[KW_CPUS][KW_LEVELS - 1] SEC(".bss.actives") = {};

/*
 * Whether the kernel refuses this hit to the levels below, since they are running on this CPU
 * (__bpf_prog_enter_recur() in kernel/bpf/trampoline.c). Between the kernel's look and this one,
 * interrupts leave them as they were; a task that preempts this one may not.
 */
static __always_inline bool kw_is_refused(void)
{
	const __u64 *active = actives[bpf_get_smp_processor_id() % KW_CPUS];

	if (!kw_load_int(active[0]))
		return false;
	return !active[1] || kw_load_int(active[1]);
}

/* Not inlined: the program that finds nothing nested then has no registers to save. */
static __noinline int kw_take_nested(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_TRAMPOLINE, true);
}

static __always_inline int kw_nested_hit(void *ctx)
{
	return kw_is_refused() ? kw_take_nested(ctx) : 0;
}

#endif /* KWALK_HIT_H */
