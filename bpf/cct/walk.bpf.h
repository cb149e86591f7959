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
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/arrive.bpf.h"
#include KW_ARCH_REGS
#include KW_ARCH_FP
#include <bpf/bpf_helpers.h>

#define KW_UNROLL_FP 32

/*
 * How often the walk may leave and enter those few instructions; then kw_arrive_on() goes to the
 * end. The verifier follows each of these rounds by itself, and that is most of what loading takes.
 */
#define KW_ROUNDS 16

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

/* Where BP points to: the caller's BP, and the return address. */
#define kw_frame(typed, bp) ((typed) ? kw_cast(bp, struct list_head) : (struct list_head *)(bp))
#define kw_saved_bp(typed, frame)                                                                  \
	((typed) ? kw_member(frame, next) : (struct list_head *)kw_load_by(false, (__u64)(frame)))
#define kw_return(typed, frame)                                                                    \
	kw_code_address((typed) ? (__u64)kw_member(frame, prev)                                    \
				: kw_load_by(false, (__u64)(frame) + 8))

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
		w->s.ip = kw_first_return(w, typed);
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

#endif /* KWALK_WALK_H */
