/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * arrive.bpf.h: a frame that the tree does not lead to at once: find its node or make one, and step
 * on by its rule.
 */
#ifndef KWALK_ARRIVE_H
#define KWALK_ARRIVE_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "arch/x86/step.bpf.h"
#include "cct/tree.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

static __always_inline __u32 kw_sequence(__u32 source)
{
	__u64 root = source == KW_SOURCE_MODULE ? cfg.mod_tree : cfg.bpf_tree;

	return root ? kw_load_field(root, struct latch_tree_root, seq) : 0;
}

/* Whether a node's rule is still that of the code at its address. */
static __always_inline bool kw_is_fresh(const struct kw_node *node)
{
	if (node->source == KW_SOURCE_IMAGE)
		return true;
	return node->source != KW_SOURCE_ONCE && node->sequence == kw_sequence(node->source);
}

/*
 * The first frame may be code that the kernel lists nowhere, such as a classic BPF filter. The
 * registers of a sample or of a kretprobe the kernel's unwinder takes as they are; by frame
 * pointers it never sees FUNC's caller, hence does not end there.
 */
static __always_inline bool kw_unlisted_caller(const struct kw_state *s)
{
	if (cfg.place == KW_PLACE_SAMPLE)
		return true;
	if (s->ip < KW_KERNEL_TEXT || cfg.place == KW_PLACE_INSIDE)
		return false;
	return kw_unwinder() == KW_UNWIND_FP || (cfg.place == KW_PLACE_RETURN && !cfg.fentry);
}

/*
 * What a frame's rule makes of its node. Where the CFA is a fixed distance from SP, the next
 * return address is a fixed distance from this one.
 */
static __always_inline void kw_classify_orc(struct kw_node *node, const struct kw_node *parent)
{
	__u32 rule = node->rule, cfa = kw_rule_cfa(rule), bp = kw_rule_bp(rule);
	__u32 frame = kw_rule_frame(rule);
	int off = kw_rule_cfa_off(rule);

	/* Where BP is, as seen from here: it follows from the frame before. */
	if ((parent->kind == KW_NODE_PLAIN || parent->kind == KW_NODE_BP) &&
	    kw_rule_bp(parent->rule) == KW_BP_CFA) {
		node->flags |= KW_NODE_BP_SAVED;
		node->bp_at = 8 + kw_rule_bp_off(parent->rule);
	} else if (parent->kind == KW_NODE_PLAIN && parent->flags & KW_NODE_BP_SAVED) {
		node->flags |= KW_NODE_BP_SAVED;
		node->bp_at = parent->bp_at - kw_rule_cfa_off(parent->rule);
	}

	node->kind = KW_NODE_STEP;
	if (cfa == KW_CFA_END) {
		node->kind = KW_NODE_END;
	} else if (frame == KW_FRAME_REGS && cfa == KW_CFA_SP && off >= 0 && off < KW_NEAR) {
		node->kind = KW_NODE_USER;
		node->delta = 8 + off + bpf_core_field_offset(struct pt_regs, cs);
	} else if (frame == KW_FRAME_CALL && off > 0 && off < KW_NEAR) {
		node->delta = off;
		if (cfa == KW_CFA_SP && bp != KW_BP_BP)
			node->kind = KW_NODE_PLAIN;
		else if (cfa == KW_CFA_BP && bp == KW_BP_CFA)
			node->kind = KW_NODE_BP;
		else if (cfa == KW_CFA_SP_DEREF && bp == KW_BP_SAME)
			node->kind = KW_NODE_DEREF;
	} else if (frame == KW_FRAME_CALL && cfa == KW_CFA_BP_DEREF && bp == KW_BP_BP &&
		   node->flags & KW_NODE_BP_SAVED) {
		node->kind = KW_NODE_ALIGNED;
	}
}

/* Only code of the kernel's entry leaves no frame of its own between it and a task's registers. */
static __always_inline void kw_classify_fp(struct kw_node *node, const struct kw_state *s)
{
	if (node->ip - cfg.entry_start < cfg.entry_end - cfg.entry_start || kw_last_frame(s))
		node->kind = KW_NODE_LAST;
	else
		node->kind = KW_NODE_PLAIN;
}

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
	else if (kw_unwinder() == KW_UNWIND_ORC)
		kw_classify_orc(node, kw_at(nodes, w->node));
	else
		kw_classify_fp(node, &w->s);
	if (node->source != KW_SOURCE_IMAGE)
		node->delta = w->s.code;
	kw_link(at);
	return at;
}

/* Other code has come to the address of a node than it was made for. */
static __always_inline bool kw_is_other(const struct kw_node *node, const struct kw_state *s)
{
	return node->rule != s->rule || node->source != s->source ||
	       (s->source != KW_SOURCE_IMAGE && node->delta != s->code);
}

/* The node of the frame in w->s: known, or made, or none: then the step that says why. */
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
	if (step == KW_STEP_END && kw_is_function(kw_at(nodes, w->node)) &&
	    kw_unlisted_caller(&w->s)) {
		step = KW_STEP_FRAME;
		w->s.rule = kw_rule_fp();
		w->s.source = KW_SOURCE_ONCE;
	}
	if (step != KW_STEP_FRAME)
		return step;
	if (w->s.source == KW_SOURCE_MODULE)
		bpf = modules;
	if (w->s.source != KW_SOURCE_IMAGE) {
		w->s.code = kw_code_at(w->s.ip, w->s.source);
		if (kw_sequence(w->s.source) != bpf) /* between the rule and this */
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

/* By ORC: the frame whose return address lies right below SP, a caller of node's. */
static __always_inline void kw_read_frame(struct kw_walk *w, const struct kw_node *node)
{
	w->s.signal = kw_rule_signal(node->rule);
	w->s.ip = kw_load(w->s.sp - 8);
	w->s.regs = 0;
}

/* The tree may lead on from here; with w->to_end the next frame is got ready all the same. */
static __always_inline int kw_lead_on(struct kw_walk *w, const struct kw_node *node)
{
	if (!w->to_end)
		return KW_STEP_FRAME;
	if (kw_unwinder() == KW_UNWIND_ORC)
		kw_read_frame(w, node);
	return KW_STEP_ARRIVED;
}

/*
 * Go on from the state in w->s, a frame under w->node, which becomes its node. KW_STEP_FRAME: the
 * next return address lies right below SP (ORC), or the next frame is in w->s (frame pointers).
 * KW_STEP_ARRIVED: to be called again, for the next frame in w->s.
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
	if (kw_unwinder() == KW_UNWIND_FP) {
		if (node->kind == KW_NODE_LAST && kw_last_frame(&w->s))
			return KW_STEP_END;
		step = kw_step_fp_any(&w->s);
		if (step != KW_STEP_FRAME)
			return step;
		return w->s.regs ? KW_STEP_ARRIVED : kw_lead_on(w, node);
	}
	if (node->kind == KW_NODE_PLAIN) {
		w->s.sp += kw_rule_cfa_off(node->rule); /* delta, of any source */
		return kw_lead_on(w, node);
	}
	if (!(node->flags & KW_NODE_HAS_REGS)) {
		w->s.regs = w->s.earlier = 0;
		w->s.partial = 0;
	}
	if (node->flags & KW_NODE_BP_SAVED)
		w->s.bp = kw_load(w->s.sp - 8 + node->bp_at);
	step = kw_step_any(&w->s, node->rule);
	return step == KW_STEP_FRAME ? KW_STEP_ARRIVED : step;
}

/* Until the tree may lead on (KW_STEP_FRAME) or, with w->to_end, until the stack ends. */
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
	return KW_STEP_UNKNOWN; /* in circles */
}

#endif /* KWALK_ARRIVE_H */
