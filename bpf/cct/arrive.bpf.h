/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * arrive.bpf.h: the slow path of the walk: find or add the node of a frame, and step to the next.
 */
#ifndef KWALK_ARRIVE_H
#define KWALK_ARRIVE_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "unwind/hook.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include KW_ARCH_STEP
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Sequence count of the latch tree that lists a source's code; 0 if unknown. */
static __always_inline __u32 kw_sequence(__u32 source)
{
	__u64 root = source == KW_SOURCE_MODULE ? cfg.mod_tree : cfg.bpf_tree;

	return root ? kw_load_field(root, struct latch_tree_root, seq) : 0;
}

/* Whether a node's rule still holds. */
static __always_inline bool kw_is_fresh(const struct kw_node *node)
{
	if (node->source == KW_SOURCE_IMAGE)
		return true;
	return node->source != KW_SOURCE_ONCE && node->sequence == kw_sequence(node->source);
}

/* Add a node for the settled frame in w->s, a child of w->node; 0 if the tree is full. */
static __always_inline __u32 kw_add_frame(void *nodes, struct kw_walk *w, __u32 sequence)
{
	__u32 at = kw_take(w->node, w->s.ip);
	struct kw_node *node = kw_at(nodes, at);

	if (!at)
		return 0;
	node->rule = w->s.rule;
	node->source = w->s.source;
	node->sequence = sequence;
	if (w->s.regs)
		node->flags |= KW_NODE_HAS_REGS;
	if (node->depth >= cfg.max_frames)
		node->kind = KW_NODE_CUT;
	else
		kw_classify(nodes, node, w);
	if (node->source != KW_SOURCE_IMAGE)
		node->delta = w->s.code;
	kw_link(at);
	return at;
}

/* Whether the code at a node's address is other code than the node was added for. */
static __always_inline bool kw_is_other(const struct kw_node *node, const struct kw_state *s)
{
	return node->rule != s->rule || node->source != s->source ||
	       (s->source != KW_SOURCE_IMAGE && node->delta != s->code);
}

/* Find or add the node of the frame in w->s: w->found. Without one, the reason as a step. */
static __always_inline int kw_find_frame(void *nodes, struct kw_walk *w)
{
	__u32 at = w->found, modules, bpf;
	struct kw_node *node;
	int step;

	w->found = 0;
	if (!at && !kw_is_hooked(&w->s))
		at = kw_find(w->node, w->s.ip);
	if (at && kw_is_fresh(kw_at(nodes, at))) {
		w->found = at;
		return KW_STEP_FRAME;
	}
	modules = kw_sequence(KW_SOURCE_MODULE);
	bpf = kw_sequence(KW_SOURCE_BPF);
	step = kw_settle(&w->s);
	if (step == KW_STEP_END && kw_is_function(kw_at(nodes, w->node)) && kw_take_unlisted(&w->s))
		step = KW_STEP_FRAME;
	if (step != KW_STEP_FRAME)
		return step;
	if (w->s.source == KW_SOURCE_MODULE)
		bpf = modules;
	if (w->s.source != KW_SOURCE_IMAGE) {
		w->s.code = kw_code_at(w->s.ip, w->s.source);
		if (kw_sequence(w->s.source) != bpf) /* changed since kw_settle() */
			w->s.code = 0;
	}
	at = kw_find(w->node, w->s.ip);
	node = kw_at(nodes, at);
	if (at && kw_is_other(node, &w->s)) {
		node->kind = KW_NODE_STALE;
		at = 0;
	}
	if (at)
		node->sequence = bpf;
	else
		at = kw_add_frame(nodes, w, bpf);
	w->found = at;
	return at ? KW_STEP_FRAME : KW_STEP_CUT;
}

/*
 * Step over the frame in w->s, whose node, a child of w->node, becomes w->node. KW_STEP_FRAME: the
 * fast path can continue from w->s. KW_STEP_ARRIVED: call again, for the next frame in w->s.
 */
__noinline int kw_arrive(struct kw_walk *w)
{
	struct kw_node *node, *parent;
	void *nodes = kw_tree();
	int step;

	if (!w || !nodes)
		return KW_STEP_UNKNOWN;
	if (w->bp_from) {
		w->s.bp = kw_load(w->bp_from);
		w->bp_from = 0;
	}
	step = kw_find_frame(nodes, w);
	if (step != KW_STEP_FRAME)
		return step;
	parent = kw_at(nodes, w->node);
	node = kw_at(nodes, w->found);
	if (node->kind == KW_NODE_PLAIN && node->source == KW_SOURCE_IMAGE) {
		if (parent->hint != w->found) {
			parent->other = parent->hint;
			parent->hint = w->found;
		}
	} else {
		parent->other = w->found;
	}
	w->node = w->found;
	w->found = 0;

	if (node->kind == KW_NODE_CUT)
		return KW_STEP_CUT;
	if (node->kind == KW_NODE_END)
		return KW_STEP_END;
	return kw_go_on(w, node);
}

/* Repeat kw_arrive() until the fast path can continue or, with w->to_end, the stack ends. */
__noinline int kw_arrive_on(struct kw_walk *w)
{
	__u32 i;
	int step;

	if (!w)
		return KW_STEP_UNKNOWN;
	for (i = 0; i <= KW_MAX_FRAMES; i++) {
		step = kw_arrive(w);
		if (step != KW_STEP_ARRIVED)
			return step;
	}
	return KW_STEP_UNKNOWN; /* a cycle */
}

#endif /* KWALK_ARRIVE_H */
