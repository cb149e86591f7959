/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* walk.bpf.h: the fast path of the walk by ORC, and the choice by unwinder. */
#ifndef KWALK_X86_WALK_H
#define KWALK_X86_WALK_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "insn.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "arch/x86/step.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/arrive.bpf.h"
#include "cct/walk.bpf.h"
#include <bpf/bpf_helpers.h>

#define KW_UNROLL 8

/*
 * Step over a matching child of any kind but PLAIN, at *slot. KW_STEP_FRAME: *slot has become the
 * address of the next return address. KW_STEP_ARRIVED: kw_arrive() must handle the child.
 */
static __always_inline int kw_special(struct kw_walk *w, struct kw_node *child, __u64 *slot,
				      bool typed)
{
	__u64 next, bp;

	if (child->kind == KW_NODE_USER)
		return kw_load_by(typed, *slot + child->delta) & 3 ? KW_STEP_END : KW_STEP_ARRIVED;
	if (child->kind == KW_NODE_BP) {
		bp = w->s.bp;
		barrier_var(bp); /* verifiers reject one load through two kinds of pointers */
		if (child->flags & KW_NODE_BP_SAVED)
			bp = kw_load_by(typed, *slot + child->bp_at);
		else if (w->bp_from)
			bp = kw_load_by(typed, w->bp_from);
		next = bp + child->delta - 8;
		if (next - *slot - 1 >= KW_NEAR)
			return KW_STEP_ARRIVED;
	} else if (child->kind == KW_NODE_DEREF) {
		next = kw_load_by(typed, *slot + 8) + child->delta - 8;
		if (next <= *slot && *slot - next < 2 * KW_NEAR)
			return KW_STEP_ARRIVED;
		if (child->flags & KW_NODE_BP_SAVED)
			w->bp_from = *slot + child->bp_at;
	} else if (child->kind == KW_NODE_ALIGNED) {
		bp = kw_load_by(typed, *slot + child->bp_at);
		next = kw_load_by(typed, bp + kw_rule_cfa_off(child->rule)) - 8;
		if (next - *slot - 1 >= KW_NEAR)
			return KW_STEP_ARRIVED;
		w->bp_from = bp + kw_rule_bp_off(child->rule);
	} else {
		return KW_STEP_ARRIVED;
	}
	*slot = next;
	return KW_STEP_FRAME;
}

/*
 * Walk by ORC: a frame that matches its parent's hint takes one load and one comparison. *end
 * becomes the node where the stack ends.
 */
static __always_inline int kw_walk_orc(struct kw_walk *w, void *nodes, int step, bool typed,
				       struct kw_node **end)
{
	const __u64 mask = cfg.node_mask;
	struct kw_node *node = nodes + (w->node & mask), *child;
	void *base;
	__u64 ip, slot = w->s.sp - 8; /* address of the next return address */
	volatile __u64 round = 0;     /* in memory, to free a register */
	__u32 j, at;

	if (step != KW_STEP_FRAME) {
		step = kw_arrive_here(w, nodes, &node);
		if (step != KW_STEP_FRAME) {
			*end = node;
			return step;
		}
		slot = w->s.sp - 8;
	}
	while (round++ < KW_ROUNDS) {
		/* Keep the variables of the inner loop in registers of their own. */
		kw_move(node, node);
		kw_move(base, nodes);
#pragma unroll
		for (j = 0; j < KW_UNROLL; j++) {
			ip = kw_load_by(typed, slot);
			kw_hinted(child, node, base, mask);
			if (child->ip != ip)
				goto look;
			kw_move(node, child);
			kw_advance(slot, node->delta);
		}
		continue;
	look:
		barrier_var(node); /* keep computations for below out of the inner loop */
		barrier_var(slot);
		w->s.ip = ip;
		w->s.sp = slot + 8;
		at = node->other;
		child = nodes + (at & mask);
		w->found = 0;
		if (child->ip == ip && child->source == KW_SOURCE_IMAGE) {
			if (child->kind == KW_NODE_PLAIN) {
				node->other = node->hint;
				node->hint = at;
				node = child;
				slot += node->delta;
				continue;
			}
			step = kw_special(w, child, &slot, typed);
			if (step == KW_STEP_FRAME) {
				node = child;
				continue;
			}
			if (step == KW_STEP_END) {
				*end = child;
				return step;
			}
			w->found = at;
		}
		w->node = (void *)node - nodes;
		w->s.signal = kw_rule_signal(node->rule);
		w->s.regs = 0;
		step = kw_arrive_here(w, nodes, &node);
		if (step != KW_STEP_FRAME) {
			*end = node;
			return step;
		}
		slot = w->s.sp - 8;
	}
	w->node = (void *)node - nodes;
	w->s.sp = slot + 8;
	w->found = 0;
	kw_read_frame(w, node);
	return kw_walk_on(w, nodes, end);
}

/* Walk from the state that a start left in w. */
static __always_inline int kw_walk(struct kw_walk *w, void *nodes, int step, struct kw_node **end)
{
	if (step != KW_STEP_FRAME && step != KW_STEP_ARRIVED) {
		*end = nodes + (w->node & cfg.node_mask);
		return step;
	}
	if (kw_unwinder() == KW_UNWIND_FP)
		return cfg.typed_loads ? kw_walk_fp(w, nodes, step, true, end)
				       : kw_walk_fp(w, nodes, step, false, end);
	return cfg.typed_loads ? kw_walk_orc(w, nodes, step, true, end)
			       : kw_walk_orc(w, nodes, step, false, end);
}

#endif /* KWALK_X86_WALK_H */
