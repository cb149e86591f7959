/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * walk.bpf.h: the manual method: steps from FUNC's caller to the outermost frame.
 */
#ifndef KWALK_WALK_H
#define KWALK_WALK_H

/* Settle the frame that the last step led to; its rule is in the memo as a rule. */
static __always_inline int kw_settle_quickly(struct kw_state *s)
{
	__u64 memo, place = kw_place(s);

	if (kw_unwinder() == KW_UNWIND_FP)
		return kw_in_vmlinux(s->ip) && !kw_may_be_hook(s->ip) ? KW_STEP_FRAME
								      : kw_settle(s);
	memo = *kw_memo_slot(place);
	if (s->ip < KW_KERNEL_TEXT || memo >> 32 != (__u32)place)
		return kw_settle(s);
	s->rule = memo;
	return KW_STEP_FRAME;
}

/*
 * FUNC's caller may be code that the kernel lists nowhere, such as a classic BPF filter. By
 * frame pointers the kernel's unwinder never sees this one frame, hence does not end there;
 * a kretprobe's registers it takes as they are.
 */
static __always_inline bool kw_unlisted_caller(const struct kw_state *s)
{
	if (s->ip < KW_KERNEL_TEXT || cfg.place == KW_PLACE_INSIDE)
		return false;
	return kw_unwinder() == KW_UNWIND_FP || (cfg.place == KW_PLACE_RETURN && !cfg.fentry);
}

/*
 * Fill frames[] from the state at FUNC's caller, which the first step led to. Returns the
 * number of frames; sets KW_EV_TRUNCATED in flags where the stack goes on beyond them,
 * KW_EV_FALLBACK where only the kernel's unwinder can tell.
 */
static __always_inline __u32 kw_walk(struct kw_state *s, int step, __u64 *frames, __u16 *flags)
{
	__u64 stack_regs = kw_unwinder() == KW_UNWIND_FP ? kw_stack_regs() : 0;
	__u32 nr;

	frames[0] = cfg.func;
	for (nr = 1; nr < KW_MAX_FRAMES; nr++) {
		if (step == KW_STEP_FRAME)
			step = kw_settle_quickly(s);
		if (nr == 1 && step == KW_STEP_END && kw_unlisted_caller(s)) {
			step = KW_STEP_FRAME;
			s->rule = kw_rule_fp();
		}
		if (step != KW_STEP_FRAME || nr >= cfg.max_frames)
			break;
		frames[nr] = s->ip;
		if (kw_unwinder() == KW_UNWIND_ORC)
			step = kw_step_orc(s, s->rule);
		else if (kw_last_frame(s, stack_regs))
			step = KW_STEP_END;
		else
			step = kw_step_fp(s);
	}
	if (s->stacked)
		*flags |= KW_EV_STACKED;
	if (step == KW_STEP_UNKNOWN)
		*flags |= KW_EV_FALLBACK;
	else if (step == KW_STEP_FRAME)
		*flags |= KW_EV_TRUNCATED;
	return nr;
}

#endif /* KWALK_WALK_H */
