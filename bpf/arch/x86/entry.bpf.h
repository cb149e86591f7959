/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * entry.bpf.h: starts of the walk on x86-64: from a probe to FUNC's direct caller.
 *
 * Starts return KW_STEP_FRAME if the caller's SP and BP are known, KW_STEP_ARRIVED if ip is as
 * well.
 */
#ifndef KWALK_X86_ENTRY_H
#define KWALK_X86_ENTRY_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/x86/regs.bpf.h"
#include "arch/x86/orc.bpf.h"
#include "arch/x86/step.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "unwind/hook.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * Start at FUNC's first instruction. The prologue has not run: SP points to the return address into
 * the direct caller, and BP is still the caller's.
 */
static __always_inline int kw_start_entry(struct kw_walk *w, __u64 sp, __u64 bp_from)
{
	w->s.sp = sp + 8;
	w->bp_from = bp_from;
	return KW_STEP_FRAME;
}

static __always_inline int kw_start_function(struct kw_walk *w, struct pt_regs *ctx)
{
	w->s.bp = kw_ctx_fp(ctx);
	return kw_start_entry(w, kw_ctx_sp(ctx), 0);
}

/* Start inside FUNC, by the rule of the traced instruction. */
static __always_inline int kw_start_inside(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	__u32 rule = KW_CFA_UNKNOWN, start = *(volatile __u32 *)&control.start;
	int step;

	s->ip = cfg.func;
	s->sp = kw_ctx_sp(ctx);
	s->bp = kw_ctx_fp(ctx);
	s->regs = regs;
	s->earlier = 0;
	s->partial = 0;
	s->signal = 1;
	if (kw_unwinder() == KW_UNWIND_ORC)
		rule = kw_place_rule(cfg.func);
	else if (start == KW_START_BARE)
		rule = kw_rule_make(KW_CFA_SP, 8, KW_BP_SAME, 0, KW_FRAME_CALL, 0);
	else if (start == KW_START_PUSHED)
		rule = kw_rule_make(KW_CFA_SP, 16, KW_BP_CFA, -16, KW_FRAME_CALL, 0);
	else if (start == KW_START_FRAME)
		rule = kw_rule_fp();
	step = kw_step_any(s, rule);
	return step == KW_STEP_FRAME ? KW_STEP_ARRIVED : step;
}

/* Whether ip is the return address of a call at the entry of func, hence above func. */
static __always_inline bool kw_returns_to_entry(__u64 func, __u64 ip)
{
	return kw_is_entry(func + 1, ip);
}

/*
 * Start by fentry or fexit. There are no registers, but the context (w->ctx: as a number) is the
 * trampoline's array of FUNC's arguments. The trampoline's saved BP lies above it, one word further
 * if a return value is kept (for fexit, or if fexit programs share the trampoline):
 * __arch_prepare_bpf_trampoline() in arch/x86/net/bpf_jit_comp.c.
 */
static __always_inline int kw_start_fentry(struct kw_walk *w, void *ctx, __u64 func,
					   struct kw_hot *hot)
{
	__u64 arguments = bpf_get_func_arg_cnt(ctx), ip;
	__u64 frame = *(volatile __u64 *)&w->ctx + 8 * arguments;

	ip = kw_load(frame + 8);
	if (hot) {
		hot->arguments = arguments;
		hot->shift = 0;
		hot->returns = ip;
	}
	if (cfg.place != KW_PLACE_RETURN && kw_returns_to_entry(func, ip))
		return kw_start_entry(w, frame + 16, frame);
	frame += 8;
	ip = kw_load(frame + 8);
	if (hot) {
		hot->shift = 1;
		hot->returns = ip;
	}
	if (kw_returns_to_entry(func, ip))
		return kw_start_entry(w, frame + 16, frame);
	if (hot)
		hot->returns = 0;
	/*
	 * "bpf: implement "jmp" mode for trampoline" (7.0): FUNC jumps to a trampoline that
	 * calls FUNC itself, and the return address into FUNC's caller is here.
	 */
	if (ip < KW_KERNEL_TEXT)
		return KW_STEP_UNKNOWN;
	w->flags |= KW_EV_JUMPED;
	return kw_start_entry(w, frame + 8, frame);
}

/*
 * Start at a tracepoint, whose registers are of no use. The program's own frame has its caller's BP
 * and, above it, the return address into the code that calls programs: the first frame.
 */
static __always_inline int kw_start_tracepoint(struct kw_walk *w)
{
	__u64 frame = *(volatile __u64 *)&w->ctx;

	return kw_start_entry(w, frame + 8, frame);
}

static __always_inline bool kw_jumped_caller(void *ctx, struct kw_walk *w, __u64 *ip)
{
	kw_start_fentry(w, ctx, cfg.func, NULL);
	if (!(w->flags & KW_EV_JUMPED))
		return false;
	*ip = kw_load(w->s.sp - 8);
	if (kw_may_be_hook(*ip))
		*ip = kw_recover(*ip, kw_hook_cookie(&w->s));
	return true;
}

/* The kernel's unwinder starts behind the kprobe's int3, by the rule there. */
static __always_inline bool kw_wrong_start(const __u64 *frames)
{
	return kw_unwinder() == KW_UNWIND_ORC && cfg.place == KW_PLACE_INSIDE &&
	       frames[0] == cfg.func + 1 && kw_place_rule(cfg.func) != kw_place_rule(cfg.func + 1);
}

static __always_inline bool kw_first_twice(const __u64 *frames)
{
	return false;
}

#endif /* KWALK_X86_ENTRY_H */
