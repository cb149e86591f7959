/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * step.bpf.h: one step of the walk, (state, rule) -> next frame.
 *
 * The rules are the kernel's: unwind_next_frame() of arch/x86/kernel/
 * unwind_orc.c and unwind_frame.c. A step that can't be sure says
 * KW_STEP_UNKNOWN, and the event is given to the kernel's unwinder.
 */
#ifndef KWALK_STEP_H
#define KWALK_STEP_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "unwind/hook.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

enum kw_step {
	KW_STEP_FRAME = 0, /* state holds the next frame */
	KW_STEP_END = 1,   /* there is none */
	KW_STEP_UNKNOWN = 2,
	KW_STEP_ARRIVED = 3, /* state holds the next frame, which is still to be looked at */
	KW_STEP_CUT = 4,     /* there is one, beyond what the tree can hold */
};

struct kw_state {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u64 regs;    /* the pt_regs that this frame was interrupted with, or 0 */
	__u64 earlier; /* whole ones from before, where regs are partial, or 0 */
	__u32 signal;  /* ip is the next instruction to run, not a return address */
	__u32 partial; /* of regs, only ip, cs, flags, sp and ss are there */
	__u32 rule;    /* of the code at ip, once it is settled, and enum kw_source of it */
	__u32 source;
	__u32 stacked; /* an address had been replaced twice, which the kernel does not undo */
	__u32 code;    /* kw_code_at() */
};

/* THREAD_SIZE, but for KASAN's larger ones: what is further off is looked at more closely. */
#define KW_NEAR 16384

/* For a call, the rule is that of the call instruction, not of what follows it. */
static __always_inline __u64 kw_place(const struct kw_state *s)
{
	return s->signal ? s->ip : s->ip - 1;
}

static __always_inline __u64 kw_stack_size(void)
{
	return *(volatile __u32 *)&control.stack_size;
}

/* Which unwinder the kernel was built for: a constant once CO-RE has looked. */
static __always_inline __u32 kw_unwinder(void)
{
	if (bpf_core_field_exists(struct unwind_state, prev_regs))
		return KW_UNWIND_ORC;
	if (bpf_core_field_exists(struct unwind_state, next_bp))
		return KW_UNWIND_FP;
	return KW_UNWIND_NONE;
}

/* Interrupted user code ends the stack: user_mode(regs). */
static __always_inline bool kw_user_regs(__u64 regs)
{
	return kw_load_reg(regs, cs) & 3;
}

/* A replaced return address. */
static __always_inline bool kw_is_hooked(const struct kw_state *s)
{
	return kw_may_be_hook(s->ip) && (!s->regs || s->ip == cfg.rethook);
}

/*
 * A step leads to an address; this makes a frame of it: the real address where a tracer had
 * replaced it, the rule of the code there, and the end of the stack before the first address
 * that is not kernel text.
 */
__noinline int kw_settle(struct kw_state *s)
{
	__u64 slot, place, found;

	if (!s)
		return KW_STEP_UNKNOWN;
	/* Interrupted right behind the RET to a kretprobe's trampoline; fgraph has no such case. */
	if (s->regs && s->ip == cfg.rethook && kw_unwinder() == KW_UNWIND_FP)
		return KW_STEP_END; /* unwind_frame.c does not know of it */
	if (kw_is_hooked(s)) {
		slot = s->sp - 8;
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
	s->source = kw_source(found);
	s->rule = found;
	if (found & KW_TEXT)
		return KW_STEP_FRAME;
	return found ? KW_STEP_END : KW_STEP_UNKNOWN;
}

/* Within one stack SP only grows; a jump to another stack is larger than a stack. */
static __always_inline bool kw_went_back(__u64 old_sp, __u64 sp)
{
	return sp <= old_sp && old_sp - sp < kw_stack_size();
}

/* The whole registers that the interrupted code had, or 0: get_reg() in unwind_orc.c. */
static __always_inline __u64 kw_whole_regs(const struct kw_state *s)
{
	return s->partial ? s->earlier : s->regs;
}

/*
 * Every rule. Global and not inlined, so that the verifier goes through it once and knows
 * nothing of the state when it returns: the loop over frames then stays cheap to verify.
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
			/* A partial frame starts at ip: what lies below it is not its own. */
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

/* The current task's own stack; other stacks (interrupts, NMIs) lead back to it. */
static __always_inline __u64 kw_task_stack(void)
{
	return kw_load_field(bpf_get_current_task(), struct task_struct, stack);
}

/*
 * Frame pointers: [BP] is the caller's BP, [BP + 8] the return address; an odd BP is
 * a pt_regs that interrupt entry left behind (ENCODE_FRAME_POINTER). Rules of unwind_frame.c.
 */
__noinline int kw_step_fp_any(struct kw_state *s)
{
	__u64 regs, bp;

	if (!s)
		return KW_STEP_UNKNOWN;
	bp = s->bp;
	if (!bp)
		return KW_STEP_END;
	if (bp & 1) {
		regs = bp & ~1ULL;
		if (kw_user_regs(regs))
			return KW_STEP_END;
		s->ip = kw_load_reg(regs, ip);
		s->bp = kw_load_reg(regs, bp);
		s->sp = kw_load_reg(regs, sp);
		s->regs = regs;
		return KW_STEP_FRAME;
	}
	if (bp - s->sp >= kw_stack_size() && bp - kw_task_stack() >= kw_stack_size())
		return KW_STEP_UNKNOWN; /* BP holds something else */
	s->ip = kw_load(bp + 8);
	s->bp = kw_load(bp);
	s->sp = bp + 16;
	s->regs = 0;
	return KW_STEP_FRAME;
}

/*
 * Right below the registers at a task's stack's end the walk has reached entry
 * code: the BP saved there is user space's, or a kernel thread's meaningless one.
 * is_last_task_frame().
 */
static __always_inline bool kw_last_frame(const struct kw_state *s)
{
	__u64 stack_regs = kw_task_stack() + kw_stack_size() - cfg.stack_padding -
			   bpf_core_type_size(struct pt_regs);

	return s->sp == stack_regs && !s->regs;
}

#endif /* KWALK_STEP_H */
