/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * step.bpf.h: one step of the walk on x86-64: from (state, rule) to the next frame.
 *
 * Steps follow unwind_next_frame() of arch/x86/kernel/unwind_orc.c and unwind_frame.c. A step that
 * is not certain returns KW_STEP_UNKNOWN, and the hit falls back to the kernel's unwinder.
 */
#ifndef KWALK_X86_STEP_H
#define KWALK_X86_STEP_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/x86/regs.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "arch/x86/fp.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "unwind/hook.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/fp.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The kernel's unwinder: a constant after CO-RE relocation. */
static __always_inline __u32 kw_unwinder(void)
{
	if (bpf_core_field_exists(struct unwind_state, prev_regs))
		return KW_UNWIND_ORC;
	if (bpf_core_field_exists(struct unwind_state, next_bp))
		return KW_UNWIND_FP;
	return KW_UNWIND_NONE;
}

/* The return address's slot on the stack. */
static __always_inline __u64 kw_hook_cookie(const struct kw_state *s)
{
	return s->sp - 8;
}

/*
 * Complete the frame at s->ip: recover the address that a tracer replaced, look up the rule of the
 * code. The stack ends before the first address outside of kernel code.
 */
__noinline int kw_settle(struct kw_state *s)
{
	__u64 slot, place, found;

	if (!s)
		return KW_STEP_UNKNOWN;
	/* Interrupted right behind the RET to a kretprobe's trampoline. */
	if (s->regs && s->ip == cfg.rethook && kw_unwinder() == KW_UNWIND_FP)
		return KW_STEP_END; /* unwind_frame.c does not handle it */
	if (kw_is_hooked(s)) {
		slot = kw_hook_cookie(s);
		s->ip = kw_recover(s->ip, slot);
		if (s->ip == cfg.graph_return) {
			s->ip = kw_recover(s->ip, slot);
			s->stacked = 1;
		}
		if (!s->ip)
			return KW_STEP_UNKNOWN;
	}
	place = kw_place(s);
	s->source = KW_SOURCE_IMAGE;
	s->rule = 0;
	if (kw_in_vmlinux(s->ip)) {
		if (kw_unwinder() == KW_UNWIND_ORC)
			s->rule = kw_rule_vmlinux(place);
		return KW_STEP_FRAME;
	}
	found = kw_outside(s->ip, place);
	s->source = kw_text_source(found);
	s->rule = found;
	if (found & KW_TEXT)
		return KW_STEP_FRAME;
	return found ? KW_STEP_END : KW_STEP_UNKNOWN;
}

/* Whether SP went down on one stack, which it cannot; a jump to another stack is larger. */
static __always_inline bool kw_went_back(__u64 old_sp, __u64 sp)
{
	return sp <= old_sp && old_sp - sp < kw_stack_size();
}

/* The last complete struct pt_regs, or 0: get_reg() in unwind_orc.c. */
static __always_inline __u64 kw_whole_regs(const struct kw_state *s)
{
	return s->partial ? s->earlier : s->regs;
}

/*
 * One step by a rule of any kind. Global and not inlined: the verifier checks it once, and knows
 * nothing of the state when it returns, which keeps the loop over frames cheap to verify.
 */
__noinline int kw_step_any(struct kw_state *s, __u32 rule)
{
	__u32 kind = kw_rule_cfa(rule), frame = kw_rule_frame(rule), bp_rule = kw_rule_bp(rule);
	__u64 cfa, bp, old_sp, whole;

	if (!s)
		return KW_STEP_UNKNOWN;
	old_sp = s->sp;
	if (kind == KW_CFA_SP || kind == KW_CFA_BP) {
		cfa = (kind == KW_CFA_SP ? s->sp : s->bp) + kw_rule_cfa_off(rule);
		if (cfa - old_sp > kw_stack_size()) /* BP holds something else */
			return KW_STEP_UNKNOWN;
	} else if (kind == KW_CFA_END) {
		return KW_STEP_END;
	} else if (kind == KW_CFA_SP_DEREF) {
		cfa = kw_load(s->sp) + kw_rule_cfa_off(rule);
	} else if (kind == KW_CFA_BP_DEREF) {
		cfa = kw_load(s->bp + kw_rule_cfa_off(rule));
	} else {
		whole = kw_whole_regs(s);
		if (kind < KW_CFA_R10 || !whole)
			return KW_STEP_UNKNOWN;
		if (kind == KW_CFA_R10)
			cfa = kw_load_reg(whole, r10);
		else if (kind == KW_CFA_R13)
			cfa = kw_load_reg(whole, r13);
		else if (kind == KW_CFA_DI)
			cfa = kw_load_reg(whole, di);
		else
			cfa = kw_load_reg(whole, dx);
	}

	bp = s->bp;
	if (bp_rule == KW_BP_CFA)
		bp = kw_load(cfa + kw_rule_bp_off(rule));
	else if (bp_rule == KW_BP_BP)
		bp = kw_load(bp + kw_rule_bp_off(rule));

	s->signal = kw_rule_signal(rule);
	if (frame == KW_FRAME_CALL) {
		s->ip = kw_load(cfa - 8);
		s->sp = cfa;
		s->regs = s->earlier = 0;
		s->partial = 0;
	} else {
		if (frame == KW_FRAME_REGS) {
			s->regs = cfa;
			s->earlier = 0;
			s->partial = 0;
		} else {
			/* Partial registers begin with ip; the memory below is not theirs. */
			if (!s->partial)
				s->earlier = s->regs;
			s->regs = cfa - bpf_core_field_offset(struct pt_regs, ip);
			s->partial = 1;
		}
		if (kw_user_regs(s->regs))
			return KW_STEP_END;
		s->ip = kw_load_reg(s->regs, ip);
		s->sp = kw_load_reg(s->regs, sp);
		if (bp_rule == KW_BP_SAME) {
			whole = kw_whole_regs(s);
			if (whole)
				bp = kw_load_reg(whole, bp);
		}
	}
	s->bp = bp;
	s->rule = 0;
	return kw_went_back(old_sp, s->sp) ? KW_STEP_UNKNOWN : KW_STEP_FRAME;
}

/*
 * Whether FUNC's caller is a frame although no list of the kernel has its code (a classic BPF
 * filter). The kernel's unwinder accepts any ip in registers of a sample or kretprobe; by frame
 * pointers it never looks at FUNC's caller.
 */
static __always_inline bool kw_is_unlisted(const struct kw_state *s)
{
	if (cfg.place == KW_PLACE_SAMPLE)
		return true;
	if (s->ip < KW_KERNEL_TEXT || cfg.place == KW_PLACE_INSIDE)
		return false;
	return kw_unwinder() == KW_UNWIND_FP || (cfg.place == KW_PLACE_RETURN && !cfg.fentry);
}

static __always_inline bool kw_take_unlisted(struct kw_state *s)
{
	if (!kw_is_unlisted(s))
		return false;
	s->rule = kw_rule_fp();
	s->source = KW_SOURCE_ONCE;
	return true;
}

/*
 * Set a node's kind by its rule. Where the CFA is at a fixed distance from SP, the next return
 * address is at a fixed distance from this one.
 */
static __always_inline void kw_classify_orc(struct kw_node *node, const struct kw_node *parent)
{
	__u32 rule = node->rule, cfa = kw_rule_cfa(rule), bp = kw_rule_bp(rule);
	__u32 frame = kw_rule_frame(rule);
	int off = kw_rule_cfa_off(rule);

	/* The place of the saved BP, relative to this frame, follows from the parent's rule. */
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

static __always_inline void kw_classify(void *nodes, struct kw_node *node, const struct kw_walk *w)
{
	if (kw_unwinder() == KW_UNWIND_ORC)
		kw_classify_orc(node, kw_at(nodes, w->node));
	else
		kw_classify_fp(node, &w->s);
}

/* Load the frame above node's, whose return address lies right below SP. */
static __always_inline void kw_read_frame(struct kw_walk *w, const struct kw_node *node)
{
	w->s.signal = kw_rule_signal(node->rule);
	w->s.ip = kw_load(w->s.sp - 8);
	w->s.regs = 0;
}

/* Return to the fast path, or with w->to_end prepare the next frame for kw_arrive(). */
static __always_inline int kw_lead_on(struct kw_walk *w, const struct kw_node *node)
{
	if (!w->to_end)
		return KW_STEP_FRAME;
	if (kw_unwinder() == KW_UNWIND_ORC)
		kw_read_frame(w, node);
	return KW_STEP_ARRIVED;
}

static __always_inline int kw_go_on(struct kw_walk *w, const struct kw_node *node)
{
	int step;

	if (kw_unwinder() == KW_UNWIND_FP) {
		step = kw_go_on_fp(w, node);
		return step == KW_STEP_FRAME ? kw_lead_on(w, node) : step;
	}
	if (node->kind == KW_NODE_PLAIN) {
		w->s.sp += kw_rule_cfa_off(node->rule); /* node->delta may be kw_code_at() */
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

#endif /* KWALK_X86_STEP_H */
