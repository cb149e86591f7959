/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * walk.bpf.h: the manual method: from FUNC's caller to the outermost frame, down the tree.
 *
 * Nearly every frame has been met before, in the same context. Its node says where the next return
 * address stands; if that is the one that came last time, the next node is known, too. These few
 * instructions are the loops below. Whatever else there is goes through kw_arrive().
 */
#ifndef KWALK_WALK_H
#define KWALK_WALK_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "insn.bpf.h"
#include "unwind/load.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "arch/x86/step.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/arrive.bpf.h"
#include <bpf/bpf_helpers.h>

#define KW_UNROLL    8
#define KW_UNROLL_FP 32

/*
 * How often the walk may leave and enter those few instructions; then kw_arrive_on() goes to the
 * end. The verifier follows each of these rounds by itself, and that is most of what loading takes.
 */
#define KW_ROUNDS 16

/*
 * A child that is no PLAIN frame of the image, at slot. KW_STEP_FRAME: *slot is now where the next
 * return address stands. KW_STEP_ARRIVED: kw_arrive() is to deal with it.
 */
static __always_inline int kw_special(struct kw_walk *w, struct kw_node *child, __u64 *slot,
				      bool typed)
{
	__u64 next, bp;

	if (child->kind == KW_NODE_USER)
		return kw_load_by(typed, *slot + child->delta) & 3 ? KW_STEP_END : KW_STEP_ARRIVED;
	if (child->kind == KW_NODE_BP) {
		bp = w->s.bp;
		barrier_var(bp); /* verifiers refuse one load by two kinds of pointers */
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
 * A frame of which nothing is known, in w->s. Called before the loops, too, never jumped to: a way
 * into the middle of a loop is one that verifiers up to Linux 6.1 may take for endless.
 */
static __always_inline int kw_arrive_here(struct kw_walk *w, void *nodes, struct kw_node **node)
{
	int step = kw_arrive(w);

	if (step == KW_STEP_ARRIVED)
		step = kw_arrive_on(w);
	*node = nodes + (w->node & cfg.node_mask);
	return step;
}

/* From the state in w->s to the end of the stack, which is beyond what the loops below go. */
static __always_inline int kw_walk_on(struct kw_walk *w, void *nodes, struct kw_node **end)
{
	int step;

	w->to_end = 1;
	step = kw_arrive_on(w);
	w->to_end = 0;
	*end = nodes + (w->node & cfg.node_mask);
	return step;
}

/*
 * The frame that came last time: one load, one comparison. Returns with the node where the stack
 * ends in *end.
 */
static __always_inline int kw_walk_orc(struct kw_walk *w, void *nodes, int step, bool typed,
				       struct kw_node **end)
{
	const __u64 mask = cfg.node_mask;
	struct kw_node *node = nodes + (w->node & mask), *child;
	void *base;
	__u64 ip, slot = w->s.sp - 8; /* where the next return address stands */
	volatile __u64 round = 0;     /* in memory: registers are wanted below */
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
		/* Registers of their own for what each frame takes; what look needs may be
		 * elsewhere. */
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
		barrier_var(node); /* nothing for below is to be computed above */
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

/* Where BP points to: the caller's BP, and the return address. */
#define kw_frame(typed, bp) ((typed) ? kw_cast(bp, struct list_head) : (struct list_head *)(bp))
#define kw_saved_bp(typed, frame)                                                                  \
	((typed) ? kw_member(frame, next) : (struct list_head *)kw_load_by(false, (__u64)(frame)))
#define kw_return(typed, frame)                                                                    \
	((typed) ? (__u64)kw_member(frame, prev) : kw_load_by(false, (__u64)(frame) + 8))

/* Whether the frame that BP points to can't be the one above: an encoded pt_regs, another stack. */
static __always_inline bool kw_far(struct list_head *below, struct list_head *frame)
{
	return ((__u64)frame - (__u64)below - 16) & ~(KW_NEAR - 8ULL);
}

/* Also from the stack of interrupts to the task's. Through memory: to the verifier, numbers. */
static __always_inline bool kw_is_frame(volatile __u64 sp, volatile __u64 bp)
{
	__u64 at = bp;

	if (!((at - sp) & ~(KW_NEAR - 8ULL)))
		return true;
	return !(at & 1) && at - kw_task_stack() < kw_stack_size();
}

/*
 * The same by frame pointers: BP is followed, too. Between rounds w->s holds the next frame, and BP
 * there, of which nothing is known yet.
 */
static __always_inline int kw_walk_fp(struct kw_walk *w, void *nodes, int step, bool typed,
				      struct kw_node **end)
{
	const __u64 mask = cfg.node_mask;
	struct kw_node *node = nodes + (w->node & mask), *child;
	struct list_head *frame, *next;
	volatile __u64 round = 0;
	void *base;
	__u32 j, at;

	if (step != KW_STEP_FRAME) {
		step = kw_arrive_here(w, nodes, &node);
		if (step != KW_STEP_FRAME) {
			*end = node;
			return step;
		}
	} else {
		w->s.signal = 0;
		w->s.ip = kw_load_by(typed, w->s.sp - 8);
		if (w->bp_from) {
			w->s.bp = kw_load_by(typed, w->bp_from);
			w->bp_from = 0;
		}
	}
	while (round++ < KW_ROUNDS) {
		at = node->hint;
		child = nodes + (at & mask);
		if (child->ip != w->s.ip) {
			at = node->other;
			child = nodes + (at & mask);
		}
		w->found = 0;
		if (child->ip == w->s.ip && child->source == KW_SOURCE_IMAGE) {
			w->s.regs = 0;
			if (child->kind == KW_NODE_LAST && kw_last_frame(&w->s)) {
				*end = child;
				return KW_STEP_END;
			}
			if (child->kind == KW_NODE_PLAIN && kw_is_frame(w->s.sp, w->s.bp)) {
				if (at != node->hint) {
					node->other = node->hint;
					node->hint = at;
				}
				node = child;
				frame = kw_frame(typed, w->s.bp);
				kw_move(base, nodes);
#pragma unroll
				for (j = 0; j < KW_UNROLL_FP; j++) {
					kw_hinted(child, node, base, mask);
					if (child->ip != kw_return(typed, frame))
						break;
					next = kw_saved_bp(typed, frame);
					if (kw_far(frame, next))
						break;
					kw_move(node, child);
					kw_move(frame, next);
				}
				w->s.ip = kw_return(typed, frame);
				w->s.bp = (__u64)kw_saved_bp(typed, frame);
				w->s.sp = (__u64)frame + 16;
				continue;
			}
			w->found = at;
		}
		w->s.regs = 0;
		w->node = (void *)node - nodes;
		step = kw_arrive_here(w, nodes, &node);
		if (step != KW_STEP_FRAME) {
			*end = node;
			return step;
		}
	}
	w->node = (void *)node - nodes;
	w->s.regs = 0;
	w->found = 0;
	return kw_walk_on(w, nodes, end);
}

/* Walk from the state that a start left in w; *end becomes the node where the stack ends. */
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

#endif /* KWALK_WALK_H */
