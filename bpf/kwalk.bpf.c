// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * kwalk.bpf.c: the programs, one for each program type. User space loads one of them; the verifier
 * removes as dead code what the configuration does not use.
 */
#include "kernel.h"
#include "kwalk.h"
#include <bpf/bpf_helpers.h>
#include "insn.bpf.h"
#include "trace/hit.bpf.h"
#include "trace/filter.bpf.h"
#include "trace/number.bpf.h"
#include "trace/facts.bpf.h"

SEC("kprobe")
int kw_kprobe(struct pt_regs *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_KPROBE, false);
}

SEC("kprobe.multi")
int kw_multi(struct pt_regs *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_MULTI, false);
}

SEC("fentry")
int kw_fentry(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_TRAMPOLINE, false);
}

SEC("fentry.multi")
int kw_fentry_multi(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_TRAMPOLINES, false);
}

SEC("fexit.multi")
int kw_fexit_multi(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_TRAMPOLINES, false);
}

/* Beside kw_fentry_multi, for functions without a trampoline: on a level of its own. */
SEC("kprobe.multi")
int kw_multi_beside(struct pt_regs *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_MULTI, true);
}

SEC("kprobe")
int kw_kprobe_hot(struct pt_regs *ctx)
{
	return kw_hot_hit(ctx, KW_BY_KPROBE);
}

SEC("fentry")
int kw_fentry_hot(void *ctx)
{
	return kw_hot_hit(ctx, KW_BY_TRAMPOLINE);
}

SEC("fentry")
int kw_fentry_nested(void *ctx)
{
	return kw_nested_hit(ctx);
}

SEC("fexit")
int kw_fexit_nested(void *ctx)
{
	return kw_nested_hit(ctx);
}

SEC("fexit")
int kw_fexit(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_TRAMPOLINE, false);
}

/*
 * Not inlined: from 6.13 on a program with a large stack may have a private one ("bpf: Support
 * private stack"), and R10 would not point to its frame.
 */
static __noinline int kw_tracepoint_hit(void *ctx, void *frame)
{
	return kw_hit(ctx, frame, KW_BY_TRACEPOINT, false);
}

SEC("raw_tp")
int kw_raw_tp(void *ctx)
{
	void *frame;

	kw_own_frame(frame);
	return kw_tracepoint_hit(ctx, frame);
}

SEC("tp")
int kw_tp(void *ctx)
{
	void *frame;

	kw_own_frame(frame);
	return kw_tracepoint_hit(ctx, frame);
}

SEC("perf_event")
int kw_sample(void *ctx)
{
	return kw_hit(ctx, ctx, KW_BY_SAMPLE, false);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
