/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * state.bpf.h: the state of a walk, one frame, and what a step can lead to.
 */
#ifndef KWALK_STATE_H
#define KWALK_STATE_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

enum kw_step {
	KW_STEP_FRAME = 0, /* state holds the next frame */
	KW_STEP_END = 1,   /* there is none */
	KW_STEP_UNKNOWN = 2,
	KW_STEP_ARRIVED = 3, /* state holds the next frame, which is still to be looked at */
	KW_STEP_CUT = 4,     /* there is one, beyond what the tree can hold */
};

struct kw_state {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u64 regs;    /* the pt_regs that this frame was interrupted with, or 0 */
	__u64 earlier; /* whole ones from before, where regs are partial, or 0 */
	__u32 signal;  /* ip is the next instruction to run, not a return address */
	__u32 partial; /* of regs, only ip, cs, flags, sp and ss are there */
	__u32 rule;    /* of the code at ip, once it is settled, and enum kw_source of it */
	__u32 source;
	__u32 stacked; /* an address had been replaced twice, which the kernel does not undo */
	__u32 code;    /* kw_code_at() */
};

/* THREAD_SIZE, but for KASAN's larger ones: what is further off is looked at more closely. */
#define KW_NEAR 16384

/* For a call, the rule is that of the call instruction, not of what follows it. */
static __always_inline __u64 kw_place(const struct kw_state *s)
{
	return s->signal ? s->ip : s->ip - 1;
}

static __always_inline __u64 kw_stack_size(void)
{
	return *(volatile __u32 *)&control.stack_size;
}

/* The current task's own stack; other stacks (interrupts, NMIs) lead back to it. */
static __always_inline __u64 kw_task_stack(void)
{
	return kw_load_field(bpf_get_current_task(), struct task_struct, stack);
}

#endif /* KWALK_STATE_H */
