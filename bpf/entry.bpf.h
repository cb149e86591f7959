/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * entry.bpf.h: where the walk starts, for each way of attaching and each place in FUNC.
 *
 * Every function here steps to FUNC's direct caller.
 */
#ifndef KWALK_ENTRY_H
#define KWALK_ENTRY_H

/*
 * At FUNC's first instruction the prologue has not run: SP points at the return
 * address into the direct caller, and BP is still the caller's.
 */
static __always_inline int kw_start_entry(struct kw_state *s, __u64 sp, __u64 bp)
{
	s->ip = kw_load(sp);
	s->sp = sp + 8;
	s->bp = bp;
	return KW_STEP_FRAME;
}

/* Inside FUNC: by the rule of the instruction that the kprobe is at. */
static __always_inline int kw_start_inside(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	__u32 rule = KW_CFA_UNKNOWN, start = *(volatile __u32 *)&control.start;

	s->ip = cfg.func;
	s->sp = ctx->sp;
	s->bp = ctx->bp;
	s->regs = regs;
	s->signal = 1;
	if (kw_unwinder() == KW_UNWIND_ORC)
		rule = kw_place_rule(cfg.func);
	else if (start == KW_START_BARE)
		rule = kw_rule_make(KW_CFA_SP, 8, KW_BP_SAME, 0, KW_FRAME_CALL, 0);
	else if (start == KW_START_PUSHED)
		rule = kw_rule_make(KW_CFA_SP, 16, KW_BP_CFA, -16, KW_FRAME_CALL, 0);
	else if (start == KW_START_FRAME)
		rule = kw_rule_fp();
	return kw_step_any(s, rule);
}

/* Behind FUNC's return: a kretprobe's registers are those that the caller goes on with. */
static __always_inline int kw_start_return(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	s->ip = ctx->ip;
	s->sp = ctx->sp;
	s->bp = ctx->bp;
	s->regs = regs;
	s->signal = 1;
	if (kw_may_be_hook(s->ip)) { /* the graph tracer had replaced it before the kretprobe */
		s->ip = kw_recover(s->ip, s->sp - 8);
		s->stacked = 1;
		return s->ip ? KW_STEP_FRAME : KW_STEP_UNKNOWN;
	}
	return KW_STEP_FRAME;
}

static __always_inline int kw_start_kprobe(struct kw_state *s, struct pt_regs *ctx, __u64 regs)
{
	if (cfg.place == KW_PLACE_INSIDE)
		return kw_start_inside(s, ctx, regs);
	if (cfg.place == KW_PLACE_RETURN)
		return kw_start_return(s, ctx, regs);
	return kw_start_entry(s, ctx->sp, ctx->bp);
}

/* The trampoline calls in FUNC's first bytes; endbr and padding move the place. */
static __always_inline bool kw_is_entry(__u64 ip)
{
	return ip - cfg.func <= KW_ENTRY_BYTES;
}

/*
 * fentry and fexit have no registers, but their context is the trampoline's array of FUNC's
 * arguments, and the trampoline's saved BP lies right above it (one word further where
 * a return value is kept, as for fexit, or when fexit programs share the trampoline):
 * __arch_prepare_bpf_trampoline() in arch/x86/net/bpf_jit_comp.c.
 */
static __always_inline int kw_start_fentry(struct kw_state *s, void *ctx, __u64 array)
{
	__u64 frame = array + 8 * bpf_get_func_arg_cnt(ctx);

	if (!kw_is_entry(kw_load(frame + 8))) {
		frame += 8;
		if (!kw_is_entry(kw_load(frame + 8))) {
			/*
			 * "bpf: implement "jmp" mode for trampoline" (7.0): a trampoline that
			 * calls FUNC itself is jumped to, and FUNC's caller stands here.
			 */
			if (kw_load(frame + 8) < KW_KERNEL_TEXT)
				return KW_STEP_UNKNOWN;
			s->jumped = 1;
			return kw_start_entry(s, frame + 8, kw_load(frame));
		}
	}
	return kw_start_entry(s, frame + 16, kw_load(frame));
}

#endif /* KWALK_ENTRY_H */
