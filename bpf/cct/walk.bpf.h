/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * walk.bpf.h: the manual method: from FUNC's caller to the outermost frame, along the tree.
 *
 * Nearly every frame has a node already. Its node tells the address of the next return address; if
 * that matches the last child, the next node is known, too. The fast path consists of these few
 * instructions; kw_arrive() handles all other frames.
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
 * Limit of returns from the slow to the fast path; then kw_arrive_on() walks to the end. The
 * verifier follows each round separately, which is most of the time that loading takes.
 */
#define KW_ROUNDS 16

/*
 * Slow path for the frame in w->s. Called before the loops as well, instead of a jump into them,
 * which verifiers up to Linux 6.1 may take for an infinite loop.
 */
static __always_inline int kw_arrive_here(struct kw_walk *w, void *nodes, struct kw_node **node)
{
	int step = kw_arrive(w);

	if (step == KW_STEP_ARRIVED)
		step = kw_arrive_on(w);
	*node = nodes + (w->node & cfg.node_mask);
	return step;
}

/* Slow path from the frame in w->s to the end of the stack. */
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
 * A frame record at BP: the caller's BP and the return address. To verifiers the first word of a
 * struct hlist_node is a pointer to another one, the second a number.
 */
#define kw_frame(typed, bp) ((typed) ? kw_cast(bp, struct hlist_node) : (struct hlist_node *)(bp))
#define kw_saved_bp(typed, frame, copy)                                                            \
	((typed) ? kw_member(frame, next) : (struct hlist_node *)(copy)[0])
#define kw_return(typed, frame, copy)                                                              \
	kw_code_address((typed) ? (__u64)kw_member(frame, pprev) : (copy)[1])

/* Without typed loads, read both words by one call. */
static __always_inline void kw_read_record(bool typed, struct hlist_node *frame, __u64 *copy)
{
	if (!typed)
		bpf_probe_read_kernel(copy, 2 * sizeof(*copy), frame);
}

/* Whether frame is not right above below: an encoded struct pt_regs, or on another stack. */
static __always_inline bool kw_far(struct hlist_node *below, struct hlist_node *frame)
{
	return ((__u64)frame - (__u64)below - 16) & ~(KW_NEAR - 8ULL);
}

/* Whether BP points to a record, above SP or on the task's stack. volatile: for verifiers. */
static __always_inline bool kw_is_frame(volatile __u64 sp, volatile __u64 bp)
{
	__u64 at = bp;

	if (!((at - sp) & ~(KW_NEAR - 8ULL)))
		return true;
	return !(at & 7) && kw_on_task_stack(sp, at);
}

/*
 * Walk by frame pointers. Between rounds w->s holds the next frame, without a node yet, and its BP.
 * *end becomes the node where the stack ends.
 */
static __always_inline int kw_walk_fp(struct kw_walk *w, void *nodes, int step, bool typed,
				      struct kw_node **end)
{
	const __u64 mask = cfg.node_mask;
	struct kw_node *node = nodes + (w->node & mask), *child;
	struct hlist_node *frame, *next;
	volatile __u64 round = 0;
	__u64 copy[2];
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
				kw_read_record(typed, frame, copy);
				kw_move(base, nodes);
#pragma unroll
				for (j = 0; j < KW_UNROLL_FP; j++) {
					kw_hinted(child, node, base, mask);
					if (child->ip != kw_return(typed, frame, copy))
						break;
					next = kw_saved_bp(typed, frame, copy);
					if (kw_far(frame, next))
						break;
					kw_move(node, child);
					kw_move(frame, next);
					kw_read_record(typed, frame, copy);
				}
				w->s.ip = kw_return(typed, frame, copy);
				w->s.bp = (__u64)kw_saved_bp(typed, frame, copy);
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
