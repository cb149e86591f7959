/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * entry.bpf.h: where the walk starts, for each way of attaching.
 *
 * At FUNC's first instruction the prologue has not run: SP points at the return
 * address into the direct caller, and BP is still the caller's.
 */
#ifndef KWALK_ENTRY_H
#define KWALK_ENTRY_H

static __always_inline int kw_entry_regs(struct pt_regs *ctx, struct kw_state *s)
{
	s->sp = ctx->sp;
	s->bp = ctx->bp;
	return 0;
}

/* The fentry trampoline calls in FUNC's first bytes; endbr and padding move the place. */
static __always_inline bool kw_is_entry(__u64 ip)
{
	return ip - cfg.func <= 16;
}

/*
 * fentry has no registers, but its context is the trampoline's array of FUNC's
 * arguments, and the trampoline's saved BP lies right above it (one word further where
 * a return value is kept, as when fexit programs share the trampoline):
 * __arch_prepare_bpf_trampoline() in arch/x86/net/bpf_jit_comp.c.
 */
static __always_inline int kw_entry_fentry(void *ctx, __u64 ctx_addr, struct kw_state *s)
{
	__u64 frame = ctx_addr + 8 * bpf_get_func_arg_cnt(ctx);

	if (!kw_is_entry(kw_load(frame + 8))) {
		frame += 8;
		if (!kw_is_entry(kw_load(frame + 8)))
			return -EFAULT;
	}
	s->bp = kw_load(frame);
	s->sp = frame + 16;
	return 0;
}

#endif /* KWALK_ENTRY_H */
