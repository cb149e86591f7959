/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * entry.bpf.h: starts of the walk on arm64: from a probe to FUNC's direct caller.
 *
 * A call leaves its return address in LR (x30). FUNC's prologue saves FP (x29) and LR as a frame
 * record, and makes FP its address.
 */
#ifndef KWALK_ARM64_ENTRY_H
#define KWALK_ARM64_ENTRY_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/arm64/regs.bpf.h"
#include "arch/arm64/fp.bpf.h"
#include "arch/arm64/step.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Start where LR is FUNC's return address, and FP still the caller's. */
static __always_inline void kw_start_lr(struct kw_state *s, __u64 lr, __u64 fp, __u64 sp)
{
	s->ip = kw_code_address(lr);
	s->bp = fp;
	s->sp = sp;
}

/* Start at a record that was made for FUNC. */
static __always_inline int kw_start_record(struct kw_walk *w, __u64 record)
{
	kw_start_lr(&w->s, kw_load(record + 8), kw_load(record), record + KW_RECORD_BYTES);
	w->bp_from = 0;
	return KW_STEP_FRAME;
}

/* Before the prologue. */
static __always_inline int kw_start_function(struct kw_walk *w, struct pt_regs *ctx)
{
	kw_start_lr(&w->s, ctx->regs[KW_REG_LR], kw_ctx_fp(ctx), kw_ctx_sp(ctx));
	w->bp_from = 0;
	return KW_STEP_FRAME;
}

static __always_inline int kw_start_inside(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	__u32 start = *(volatile __u32 *)&control.start;
	__u64 fp = kw_ctx_fp(ctx);

	s->regs = 0;
	s->earlier = 0;
	s->partial = 0;
	s->signal = 0;
	if (start == KW_START_BARE)
		kw_start_lr(s, ctx->regs[KW_REG_LR], fp, kw_ctx_sp(ctx));
	else if (start == KW_START_FRAME && fp - kw_ctx_sp(ctx) < kw_stack_size())
		kw_start_lr(s, kw_load(fp + 8), kw_load(fp), fp + KW_RECORD_BYTES);
	else
		return KW_STEP_UNKNOWN;
	return KW_STEP_ARRIVED;
}

/*
 * Start by fentry or fexit. The context is the trampoline's array of FUNC's arguments. Above it
 * are FUNC's return value, if it is kept, two saved registers, and two records: the trampoline's
 * own, with the return address into FUNC, and the one that FUNC would have made. The records are
 * aligned to 16 bytes: prepare_trampoline() in arch/arm64/net/bpf_jit_comp.c.
 */
static __always_inline int kw_start_fentry(struct kw_walk *w, void *ctx, __u64 func,
					   struct kw_hot *hot)
{
	__u64 arguments = bpf_get_func_arg_cnt(ctx), ip;
	__u64 above = *(volatile __u64 *)&w->ctx + 8 * arguments;
	__u64 own = (above + 16 + 15) & ~15ULL; /* without a return value */

	if (kw_load(own) != own + KW_RECORD_BYTES) {
		own = (above + 24 + 15) & ~15ULL;
		if (kw_load(own) != own + KW_RECORD_BYTES)
			return KW_STEP_UNKNOWN;
	}
	ip = kw_code_address(kw_load(own + 8));
	if (!kw_is_entry(func + 1, ip))
		return KW_STEP_UNKNOWN;
	if (hot) {
		hot->arguments = arguments;
		hot->shift = (own - above) / 8;
		hot->returns = ip;
	}
	return kw_start_record(w, own + KW_RECORD_BYTES);
}

/*
 * Start at a tracepoint, whose registers are of no use. The program's own frame record, which has
 * the return address into the code that calls programs, lies above the registers that the JIT saves
 * between it and R10: build_prologue().
 */
static __always_inline int kw_start_tracepoint(struct kw_walk *w)
{
	__u32 saved = *(volatile __u32 *)&control.saved;

	if (!saved)
		return KW_STEP_UNKNOWN;
	return kw_start_record(w, *(volatile __u64 *)&w->ctx + saved);
}

/* FUNC always calls the trampoline. */
static __always_inline bool kw_jumped_caller(void *ctx, struct kw_walk *w, __u64 *ip)
{
	return false;
}

static __always_inline bool kw_wrong_start(const __u64 *frames)
{
	return false;
}

/* perf_arch_fetch_caller_regs() gives the unwinder FP of the frame whose record has the same PC. */
static __always_inline bool kw_first_twice(const __u64 *frames)
{
	return frames[0] == frames[1];
}

#endif /* KWALK_ARM64_ENTRY_H */
