/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * start.bpf.h: starts of the walk, by program type and place in FUNC.
 */
#ifndef KWALK_START_H
#define KWALK_START_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/hook.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include KW_ARCH_REGS
#include KW_ARCH_STEP
#include KW_ARCH_ENTRY
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Start at saved registers. */
static __always_inline int kw_start_regs(struct kw_state *s, __u64 regs, __u64 ip, __u64 sp,
					 __u64 bp)
{
	s->ip = ip;
	s->sp = sp;
	s->bp = bp;
	s->regs = regs;
	s->earlier = 0;
	s->partial = 0;
	s->signal = 1;
	return KW_STEP_ARRIVED;
}

/* Start behind FUNC's return: a kretprobe's registers are the caller's. */
static __always_inline int kw_start_return(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	kw_start_regs(s, regs, kw_ctx_ip(ctx), kw_return_sp(ctx), kw_ctx_fp(ctx));
	if (kw_may_be_hook(s->ip)) {
		/* The graph tracer replaced the address before the kretprobe did. */
		s->ip = kw_recover(s->ip, kw_hook_cookie(s));
		s->stacked = s->ip != kw_ctx_ip(ctx);
		return s->ip ? KW_STEP_ARRIVED : KW_STEP_UNKNOWN;
	}
	return KW_STEP_ARRIVED;
}

static __always_inline int kw_start_kprobe(struct kw_walk *w, struct pt_regs *ctx)
{
	__u64 regs = *(volatile __u64 *)&w->ctx;

	if (cfg.place == KW_PLACE_ENTRY)
		return kw_start_function(w, ctx);
	w->bp_from = 0;
	if (cfg.place == KW_PLACE_INSIDE)
		return kw_start_inside(&w->s, ctx, regs);
	return kw_start_return(&w->s, ctx, regs);
}

/* Address of the struct pt_regs of a perf event. */
static __always_inline __u64 kw_sample_regs(struct kw_walk *w)
{
	return kw_load(*(volatile __u64 *)&w->ctx +
		       bpf_core_field_offset(struct bpf_perf_event_data_kern, regs));
}

static __always_inline bool kw_in_user_mode(struct kw_walk *w)
{
	return kw_user_regs(kw_sample_regs(w));
}

/* Start where a perf event interrupted the kernel. */
static __always_inline int kw_start_sample(struct kw_walk *w)
{
	__u64 regs = kw_sample_regs(w);

	w->bp_from = 0;
	return kw_start_regs(&w->s, regs, kw_regs_ip(regs), kw_regs_sp(regs), kw_regs_fp(regs));
}

#endif /* KWALK_START_H */
