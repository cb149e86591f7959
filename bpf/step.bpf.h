/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * step.bpf.h: one step of the walk, (state, rule) -> next frame.
 *
 * The rules are the kernel's: unwind_next_frame() of arch/x86/kernel/
 * unwind_orc.c and unwind_frame.c. A step that can't be sure says
 * KW_STEP_UNKNOWN, and the event is given to the kernel's unwinder.
 */
#ifndef KWALK_STEP_H
#define KWALK_STEP_H

enum kw_step {
	KW_STEP_FRAME = 0, /* state holds the next frame */
	KW_STEP_END = 1,   /* there is none */
	KW_STEP_UNKNOWN = 2,
};

struct kw_state {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u64 regs;    /* the pt_regs that this frame was interrupted with, or 0 */
	__u32 signal;  /* ip is the next instruction to run, not a return address */
	__u32 partial; /* of regs, only ip, cs, flags, sp and ss are there */
};

#define KW_KERNEL_TEXT                                                                             \
	0xffffffff80000000ULL /* everything executable lies above: __START_KERNEL_map */
#define KW_STACK_SIZE bpf_core_type_size(union thread_union)

/* Which unwinder the kernel was built for: a constant once CO-RE has looked. */
static __always_inline __u32 kw_unwinder(void)
{
	if (bpf_core_field_exists(struct unwind_state, prev_regs))
		return KW_UNWIND_ORC;
	if (bpf_core_field_exists(struct unwind_state, next_bp))
		return KW_UNWIND_FP;
	return KW_UNWIND_NONE;
}

/* Interrupted user code ends the stack: user_mode(regs). */
static __always_inline bool kw_user_regs(__u64 regs)
{
	return kw_load_reg(regs, cs) & 3;
}

/* The kernel's rule: the stack ends before the first address that is not kernel text. */
static __always_inline int kw_step_check(const struct kw_state *s)
{
	return s->ip < KW_KERNEL_TEXT ? KW_STEP_END : KW_STEP_FRAME;
}

/* ORC asks for the code's rule anyway; with frame pointers this tells text from data. */
static __always_inline int kw_step_check_fp(const struct kw_state *s)
{
	if (s->ip < KW_KERNEL_TEXT || kw_in_vmlinux(s->ip))
		return kw_is_return_hook(s->ip) ? KW_STEP_UNKNOWN : kw_step_check(s);
	return kw_module_of(s->ip) ? KW_STEP_FRAME : KW_STEP_UNKNOWN;
}

/* Within one stack SP only grows; a jump to another stack is larger than a stack. */
static __always_inline bool kw_went_back(__u64 old_sp, __u64 sp)
{
	return sp <= old_sp && old_sp - sp < KW_STACK_SIZE;
}

/*
 * Every rule. Global and not inlined, so that the verifier goes through it once and knows
 * nothing of the state when it returns: the loop over frames then stays cheap to verify.
 */
__noinline int kw_step_any(struct kw_state *s, __u32 rule)
{
	__u32 kind = kw_rule_cfa(rule), frame = kw_rule_frame(rule), bp_rule = kw_rule_bp(rule);
	__u64 cfa, bp, old_sp;

	if (!s)
		return KW_STEP_UNKNOWN;
	old_sp = s->sp;
	if (kind == KW_CFA_SP) {
		cfa = s->sp + kw_rule_cfa_off(rule);
	} else if (kind == KW_CFA_BP) {
		cfa = s->bp + kw_rule_cfa_off(rule);
	} else if (kind == KW_CFA_END) {
		return KW_STEP_END;
	} else if (kind == KW_CFA_SP_DEREF) {
		cfa = kw_load(s->sp) + kw_rule_cfa_off(rule);
	} else if (kind == KW_CFA_BP_DEREF) {
		cfa = kw_load(s->bp + kw_rule_cfa_off(rule));
	} else {
		if (kind < KW_CFA_R10 || !s->regs || s->partial)
			return KW_STEP_UNKNOWN;
		if (kind == KW_CFA_R10)
			cfa = kw_load_reg(s->regs, r10);
		else if (kind == KW_CFA_R13)
			cfa = kw_load_reg(s->regs, r13);
		else if (kind == KW_CFA_DI)
			cfa = kw_load_reg(s->regs, di);
		else
			cfa = kw_load_reg(s->regs, dx);
	}

	bp = s->bp;
	if (bp_rule == KW_BP_CFA)
		bp = kw_load(cfa + kw_rule_bp_off(rule));
	else if (bp_rule == KW_BP_BP)
		bp = kw_load(bp + kw_rule_bp_off(rule));

	s->signal = kw_rule_signal(rule);
	if (frame == KW_FRAME_CALL) {
		s->ip = kw_load(cfa - 8);
		s->sp = cfa;
		s->regs = 0;
	} else {
		/* Registers that an earlier, whole frame saved and this one does not have. */
		__u64 earlier = s->regs;

		if (s->regs && s->partial)
			return KW_STEP_UNKNOWN; /* two partial frames in a row */
		/* A partial frame starts at ip: what lies below it is not its own. */
		s->partial = frame == KW_FRAME_PARTIAL;
		s->regs = s->partial ? cfa - bpf_core_field_offset(struct pt_regs, ip) : cfa;
		if (kw_user_regs(s->regs))
			return KW_STEP_END;
		s->ip = kw_load_reg(s->regs, ip);
		s->sp = kw_load_reg(s->regs, sp);
		if (bp_rule == KW_BP_SAME) {
			if (!s->partial)
				bp = kw_load_reg(s->regs, bp);
			else if (earlier)
				bp = kw_load_reg(earlier, bp);
		}
	}
	s->bp = bp;
	if (kw_went_back(old_sp, s->sp))
		return KW_STEP_UNKNOWN;
	return kw_step_check(s);
}

/* The rules of nearly every frame here; whatever is out of the ordinary goes above. */
static __always_inline int kw_step_orc(struct kw_state *s, __u32 rule)
{
	__u32 bp_rule = kw_rule_bp(rule);
	__u64 cfa, ip;

	if (kw_rule_frame(rule) != KW_FRAME_CALL || bp_rule == KW_BP_BP)
		return kw_step_any(s, rule);
	if (kw_rule_cfa(rule) == KW_CFA_SP)
		cfa = s->sp;
	else if (kw_rule_cfa(rule) == KW_CFA_BP)
		cfa = s->bp;
	else
		return kw_step_any(s, rule);
	cfa += kw_rule_cfa_off(rule);
	ip = kw_load(cfa - 8);
	if (cfa <= s->sp || ip < KW_KERNEL_TEXT)
		return kw_step_any(s, rule);
	if (bp_rule == KW_BP_CFA)
		s->bp = kw_load(cfa + kw_rule_bp_off(rule));
	s->ip = ip;
	s->sp = cfa;
	s->signal = kw_rule_signal(rule);
	s->regs = 0;
	return KW_STEP_FRAME;
}

/* Where the current task's stack ends, above the registers that a system call saved. */
static __always_inline __u64 kw_task_stack_end(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 stack = kw_load((__u64)task + bpf_core_field_offset(struct task_struct, stack));

	return stack + KW_STACK_SIZE;
}

/*
 * Frame pointers: [BP] is the caller's BP, [BP + 8] the return address; an odd BP is
 * a pt_regs that interrupt entry left behind (ENCODE_FRAME_POINTER).
 */
static __always_inline int kw_step_fp(struct kw_state *s, __u64 stack_end)
{
	__u64 gap, bp = s->bp;

	if (!bp)
		return KW_STEP_END;
	if (bp & 1) {
		__u64 regs = bp & ~1ULL;

		if (kw_user_regs(regs))
			return KW_STEP_END;
		s->ip = kw_load_reg(regs, ip);
		s->bp = kw_load_reg(regs, bp);
		s->sp = regs + bpf_core_type_size(struct pt_regs);
		return kw_step_check_fp(s);
	}
	if (kw_went_back(s->sp - 1, bp))
		return KW_STEP_UNKNOWN;
	s->ip = kw_load(bp + 8);
	s->bp = kw_load(bp);
	s->sp = bp + 16;
	/*
	 * Right below the system call's registers the walk has reached entry code: the BP
	 * saved here is user space's and means nothing. is_last_task_frame(); with FRED
	 * two words of padding follow the registers.
	 */
	gap = stack_end - s->sp - bpf_core_type_size(struct pt_regs);
	if ((gap == 0 || gap == 16) && kw_user_regs(s->sp))
		s->bp = 0;
	return kw_step_check_fp(s);
}

#endif /* KWALK_STEP_H */
