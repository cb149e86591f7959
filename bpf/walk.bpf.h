/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * walk.bpf.h: the manual method: steps from FUNC's entry to the outermost frame.
 */
#ifndef KWALK_WALK_H
#define KWALK_WALK_H

/*
 * Fill frames[] from the state at FUNC's entry (sp, bp). Returns the number of
 * frames; sets KW_EV_TRUNCATED in flags where the stack goes on beyond them,
 * KW_EV_FALLBACK where only the kernel's unwinder can tell.
 */
static __always_inline __u32 kw_walk(struct kw_state *s, __u64 *frames, __u16 *flags)
{
	__u64 stack_end = kw_unwinder() == KW_UNWIND_FP ? kw_task_stack_end() : 0;
	__u32 nr;
	int step;

	frames[0] = cfg.func;
	s->ip = kw_load(s->sp);
	s->sp += 8;
	step = kw_unwinder() == KW_UNWIND_FP ? kw_step_check_fp(s) : kw_step_check(s);

	for (nr = 1; nr < KW_MAX_FRAMES; nr++) {
		if (step != KW_STEP_FRAME)
			break;
		if (nr >= cfg.max_frames) {
			*flags |= KW_EV_TRUNCATED;
			return nr;
		}
		frames[nr] = s->ip;
		if (kw_unwinder() == KW_UNWIND_FP)
			step = kw_step_fp(s, stack_end);
		else
			/* For a call, the rule of the call instruction, not of what follows it. */
			step = kw_step_orc(s, kw_rule_of(s->signal ? s->ip : s->ip - 1));
	}
	if (step == KW_STEP_UNKNOWN)
		*flags |= KW_EV_FALLBACK;
	else if (step == KW_STEP_FRAME)
		*flags |= KW_EV_TRUNCATED;
	return nr;
}

#endif /* KWALK_WALK_H */
