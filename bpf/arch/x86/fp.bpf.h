/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* fp.bpf.h: frame records of x86-64, by the rules of arch/x86/kernel/unwind_frame.c. */
#ifndef KWALK_X86_FP_H
#define KWALK_X86_FP_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/x86/regs.bpf.h"
#include "cct/tree.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/state.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * One step by frame pointers: [BP] is the caller's BP, [BP + 8] the return address. An odd BP is
 * the address + 1 of a struct pt_regs, set by interrupt entry (ENCODE_FRAME_POINTER).
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
 * Whether s is the last frame of a task's stack: SP is at the struct pt_regs there, and the saved
 * BP is user space's, or a kernel thread's arbitrary one. is_last_task_frame().
 */
static __always_inline bool kw_last_frame(const struct kw_state *s)
{
	__u64 stack_regs = kw_task_stack() + kw_stack_size() - cfg.stack_padding -
			   bpf_core_type_size(struct pt_regs);

	return s->sp == stack_regs && !s->regs;
}

/* The call pushed it right below SP. */
static __always_inline __u64 kw_first_return(const struct kw_walk *w, bool typed)
{
	return kw_load_by(typed, w->s.sp - 8);
}

/* struct pt_regs has no record. */
static __always_inline void kw_record_facts(struct kw_facts *facts)
{
}

#endif /* KWALK_X86_FP_H */
