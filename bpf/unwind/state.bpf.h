/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * state.bpf.h: the state of a walk and the results of a step.
 */
#ifndef KWALK_STATE_H
#define KWALK_STATE_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Result of a step. */
enum kw_step {
	KW_STEP_FRAME = 0,   /* state holds the next frame */
	KW_STEP_END = 1,     /* the stack ends */
	KW_STEP_UNKNOWN = 2, /* the kernel's unwinder must be asked (fallback) */
	KW_STEP_ARRIVED = 3, /* state holds the next frame, which has no node yet */
	KW_STEP_CUT = 4,     /* the stack goes on, but max_frames or the tree's size ends it */
};

/* State of a walk: one frame. */
struct kw_state {
	__u64 ip;
	__u64 sp;
	__u64 bp;      /* frame pointer */
	__u64 regs;    /* struct pt_regs of the interrupt in this frame, or 0 */
	__u64 earlier; /* regs is partial: the last complete struct pt_regs, or 0 */
	__u32 signal;  /* ip is the next instruction to run, not a return address */
	__u32 partial; /* only ip, cs, flags, sp and ss of regs are valid */
	__u32 rule;    /* rule of the code at ip; set by kw_settle() */
	__u32 source;  /* enum kw_source of the rule; set by kw_settle() */
	__u32 stacked; /* a return address was replaced twice, which the kernel does not undo */
	__u32 code;    /* kw_code_at() of ip */
};

/* Bytes within which the fast paths accept a jump of SP: THREAD_SIZE without KASAN. */
#define KW_NEAR 16384

/* Address that the rule is looked up by: of a return address, the call before it. */
static __always_inline __u64 kw_place(const struct kw_state *s)
{
	return s->signal ? s->ip : s->ip - 1;
}

static __always_inline __u64 kw_stack_size(void)
{
	return *(volatile __u32 *)&control.stack_size;
}

/* Lowest address of the current task's stack. Interrupt and NMI stacks lead back to it. */
static __always_inline __u64 kw_task_stack(void)
{
	return kw_load_field(bpf_get_current_task(), struct task_struct, stack);
}

/* Whether an address is on the current task's stack, and above SP if SP is there, too. */
static __always_inline bool kw_on_task_stack(__u64 sp, __u64 at)
{
	__u64 stack = kw_task_stack(), size = kw_stack_size();

	return at - stack < size && !(sp - stack <= size && at < sp);
}

#endif /* KWALK_STATE_H */
