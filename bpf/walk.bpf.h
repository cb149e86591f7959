/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * walk.bpf.h: the manual method: steps from FUNC's caller to the outermost frame.
 */
#ifndef KWALK_WALK_H
#define KWALK_WALK_H

/*
 * Fill frames[] from the state at FUNC's caller, which the first step led to. Returns the
 * number of frames; sets KW_EV_TRUNCATED in flags where the stack goes on beyond them,
 * KW_EV_FALLBACK where only the kernel's unwinder can tell.
 */
static __always_inline __u32 kw_walk(struct kw_state *s, int step, __u64 *frames, __u16 *flags)
{
	__u64 stack_regs = kw_unwinder() == KW_UNWIND_FP ? kw_stack_regs() : 0;
	__u32 nr, rule;

	frames[0] = cfg.func;
	for (nr = 1; nr < KW_MAX_FRAMES; nr++) {
		if (step != KW_STEP_FRAME)
			break;
		if (nr >= cfg.max_frames) {
			*flags |= KW_EV_TRUNCATED;
			return nr;
		}
		frames[nr] = s->ip;
		if (kw_unwinder() == KW_UNWIND_FP) {
			if (kw_last_frame(s, stack_regs))
				return nr + 1;
			step = kw_step_fp(s);
			continue;
		}
		rule = s->rule;
		if (!rule)
			rule = kw_rule_of(s->signal ? s->ip : s->ip - 1);
		step = kw_step_orc(s, rule);
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
