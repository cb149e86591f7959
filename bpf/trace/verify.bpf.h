/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * verify.bpf.h: comparison of the walk with the kernel's unwinder on the same hit, frame by frame.
 */
#ifndef KWALK_VERIFY_H
#define KWALK_VERIFY_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/text.bpf.h"
#include "cct/tree.bpf.h"
#include "trace/event.bpf.h"
#include "trace/kernels.bpf.h"
#include KW_ARCH_STEP
#include KW_ARCH_ENTRY
#include <bpf/bpf_helpers.h>

/* Result of a comparison; docs/verify.md explains the kernel's known deviations. */
enum kw_verdict {
	KW_SAME,
	KW_MISSING_CALLER, /* the kernel's stack lacks FUNC's caller, and is the same otherwise */
	KW_WRONG_START,	   /* the kernel starts by the rule behind a kprobe's int3 */
	KW_STACKED_HOOKS,  /* the kernel undoes one of two replacements of a return address */
	KW_NESTED_NMI,	   /* the kernel's stack ends on the NMI stack */
	KW_TASK_SWITCH,	   /* the kernel's stack ends between two tasks */
	KW_STACK_SWITCH,   /* the kernel's stack lacks all callers, which are on another stack */
	KW_OVERWRITTEN, /* the kernel's first answer was another hit's, its second is the walk's */
	KW_DIFFERENT,
	KW_NOT_COMPARED, /* the kernel's stack is truncated before FUNC's caller */
};

#define KW_ANY_END	 1 /* excused by kw_equal(): any end of the kernel's stack */
#define KW_TRACER_FRAMES 8 /* most frames of a program and its trampoline, before FUNC */
#define KW_SWITCH_FRAMES 8 /* most frames of functions that __switch_to() calls */

/* Whether to compare this hit. */
static __always_inline bool kw_must_verify(__u64 hits)
{
	if (cfg.self_check && hits <= cfg.self_check)
		return true;
	return cfg.verify && (cfg.verify == 1 || bpf_get_prandom_u32() % cfg.verify == 0);
}

struct kw_pair {
	struct kw_scratch *sc;
	__u32 ours, theirs;
	__u64 excused;
	__u64 kernels; /* the last compared frame of the kernel's */
	bool differ;
};

static long kw_equal_next(__u32 i, struct kw_pair *pair)
{
	pair->kernels = pair->sc->kernel.frames[(pair->theirs + i) & 127];
	pair->differ = pair->sc->walk.frames[(pair->ours + i) & 127] != pair->kernels &&
		       pair->kernels != pair->excused;
	return pair->differ;
}

/*
 * Whether the kernel's frames from `theirs` on equal the walk's from `ours` on. The kernel may have
 * an excused address (0: none) in place of any, and end there; with KW_ANY_END it may end anywhere.
 * Global: the verifier checks it once.
 */
__noinline int kw_equal(struct kw_scratch *sc, __u32 ours, __u32 theirs, __u64 excused)
{
	struct kw_pair pair = {.sc = sc, .ours = ours, .theirs = theirs, .excused = excused};
	__u32 nr, kernel_nr, both;

	if (!sc)
		return false;
	nr = sc->walk.nr;
	kernel_nr = sc->kernel.nr;
	if (nr < ours || kernel_nr < theirs)
		return false;
	both = nr - ours < kernel_nr - theirs ? nr - ours : kernel_nr - theirs;
	bpf_loop(both, kw_equal_next, &pair, 0);
	if (pair.differ)
		return false;
	if (nr - ours == kernel_nr - theirs)
		return true;
	if (nr - ours == both) /* the walk ends first */
		return sc->walk.flags & KW_EV_TRUNCATED;
	if (kernel_nr >= cfg.kernel_frames)
		return true;
	return excused && (excused == KW_ANY_END || pair.kernels == excused);
}

/*
 * Whether the kernel's stack ends with the frame that an NMI interrupted. By frame pointers the
 * kernel finds the interrupted stack through the registers at the top of the NMI stack
 * (in_exception_stack() in arch/x86/kernel/dumpstack_64.c), which are another NMI's if NMIs nest.
 */
static __always_inline bool kw_ends_with_nmi(const struct kw_scratch *sc)
{
	__u32 nr = sc->kernel.nr;

	return nr > 1 &&
	       sc->kernel.frames[(nr - 2) & 127] - cfg.nmi_start < cfg.nmi_end - cfg.nmi_start;
}

/* Whether ip is in the code that switches tasks. */
static __always_inline bool kw_switches(__u64 ip)
{
	return ip - cfg.switch_asm_start < cfg.switch_asm_end - cfg.switch_asm_start ||
	       ip - cfg.switch_start < cfg.switch_end - cfg.switch_start;
}

struct kw_looking {
	struct kw_scratch *sc;
	__u32 from;
	bool switches;
};

static long kw_switches_next(__u32 i, struct kw_looking *looking)
{
	looking->switches = kw_switches(looking->sc->walk.frames[(looking->from + i) & 127]);
	return looking->switches;
}

/*
 * Whether the kernel's stack ends between two tasks: SP is the next task's already, current is
 * still the previous one, and the kernel's unwinder rejects the stack. Only an NMI can interrupt
 * there. The kernel's last frame, the interrupted one, is in __switch_to() or in a function that it
 * calls.
 */
static __always_inline bool kw_ends_between_tasks(struct kw_scratch *sc, __u32 ours, __u32 theirs)
{
	struct kw_looking looking = {.sc = sc, .from = ours + sc->kernel.nr - 1 - theirs};
	__u32 left = sc->walk.nr - looking.from;

	if (looking.from < sc->walk.nr)
		bpf_loop(left < KW_SWITCH_FRAMES ? left : KW_SWITCH_FRAMES, kw_switches_next,
			 &looking, 0);
	return looking.switches;
}

/* Compare the walk from its frame `ours` on (FUNC's caller), the kernel from `theirs` on. */
static __always_inline int kw_compare_from(struct kw_scratch *sc, __u32 ours, __u32 theirs)
{
	/* The kernel shows the trampoline of one of two stacked replacements. */
	__u64 hook = sc->walk.flags & KW_EV_STACKED ? cfg.graph_return : 0;

	if (kw_equal(sc, ours, theirs, 0))
		return KW_SAME;
	if (kw_unwinder() == KW_UNWIND_FP && kw_equal(sc, ours + 1, theirs, 0))
		return KW_MISSING_CALLER;
	if (hook && kw_equal(sc, ours, theirs, hook))
		return KW_STACKED_HOOKS;
	if (hook && kw_unwinder() == KW_UNWIND_FP && kw_equal(sc, ours + 1, theirs, hook))
		return KW_STACKED_HOOKS;
	if (!kw_ends_with_nmi(sc))
		return KW_DIFFERENT;
	if (!kw_equal(sc, ours, theirs, KW_ANY_END)) {
		ours++;
		if (kw_unwinder() != KW_UNWIND_FP || !kw_equal(sc, ours, theirs, KW_ANY_END))
			return KW_DIFFERENT;
	}
	if (kw_ends_between_tasks(sc, ours, theirs))
		return KW_TASK_SWITCH;
	return kw_unwinder() == KW_UNWIND_FP ? KW_NESTED_NMI : KW_DIFFERENT;
}

/*
 * Compare stacks without FUNC. The walk begins with the program's caller; the kernel's stack may
 * begin in the program, or in a caller of that caller.
 */
static __always_inline int kw_compare_event(struct kw_scratch *sc)
{
	__u32 first = sc->kernel.nr > 1 && kw_first_twice(sc->kernel.frames), i;

	if (sc->walk.nr < 2)
		return KW_DIFFERENT;
	for (i = first; i < KW_TRACER_FRAMES && i < sc->kernel.nr; i++)
		if (sc->walk.frames[1] == sc->kernel.frames[i])
			return kw_compare_from(sc, 1, i);
	for (i = 2; i < KW_TRACER_FRAMES && i < sc->walk.nr; i++)
		if (sc->walk.frames[i] == sc->kernel.frames[0])
			return kw_compare_from(sc, i, first);
	return KW_DIFFERENT;
}

/*
 * Whether a kprobe's FUNC was called right behind a switch of stacks, so that its caller's frame
 * record is on another stack. By frame pointers the kernel's unwinder then finds FUNC only: it
 * skips frames until one is on the stack that SP points into (__unwind_start() in unwind_frame.c).
 */
static __always_inline bool kw_caller_elsewhere(const struct kw_walk *w)
{
	__u64 regs = w->ctx;

	if (kw_unwinder() != KW_UNWIND_FP || cfg.fentry || cfg.place != KW_PLACE_ENTRY)
		return false;
	return kw_regs_fp(regs) - kw_regs_sp(regs) >= kw_stack_size();
}

/* Compare sc->walk with sc->kernel. */
__noinline int kw_compare(struct kw_scratch *sc)
{
	__u32 start = 0, kernel_nr;
	int verdict;

	if (!sc)
		return KW_DIFFERENT;
	kernel_nr = sc->kernel.nr;
	if (cfg.place == KW_PLACE_RETURN && !cfg.fentry) /* the kernel begins with the caller */
		return kw_compare_from(sc, 1, 0);
	if (cfg.place >= KW_PLACE_TRACEPOINT)
		return kw_compare_event(sc);
	if (sc->walk.flags & KW_EV_JUMPED) { /* the caller follows the trampoline's frame */
		while (start < KW_TRACER_FRAMES && start + 1 < kernel_nr &&
		       sc->walk.frames[1] != sc->kernel.frames[start + 1])
			start++;
	} else {
		while (start < KW_TRACER_FRAMES && start < kernel_nr &&
		       !kw_is_entry(sc->func, sc->kernel.frames[start]))
			start++;
	}
	if (start + 1 >= kernel_nr && kernel_nr >= cfg.kernel_frames)
		return KW_NOT_COMPARED;
	if (start >= KW_TRACER_FRAMES || start >= kernel_nr)
		return KW_DIFFERENT;
	if (sc->walk.flags & KW_EV_JUMPED && start + 1 >= kernel_nr)
		return KW_DIFFERENT;
	verdict = kw_compare_from(sc, 1, start + 1);
	if (verdict == KW_DIFFERENT && sc->switched && kernel_nr == start + 1)
		return KW_STACK_SWITCH;
	if (verdict == KW_DIFFERENT && kw_wrong_start(sc->kernel.frames) &&
	    (kernel_nr == start + 1 || kw_equal(sc, 2, start + 1, 0)))
		return KW_WRONG_START;
	return verdict;
}

/*
 * Ask the kernel again after a difference. bpf_get_stack() copies its answer from a buffer of the
 * CPU's for this kind of context when it has released it already (__bpf_get_stack() in
 * kernel/bpf/stackmap.c): a task that preempts this one there can have overwritten it. The stack is
 * still the same, so an answer that equals the walk now was wrong then.
 */
static __always_inline int kw_compare_again(void *ctx, struct kw_scratch *sc)
{
	int verdict;

	if (!kw_ask_kernel(ctx, sc))
		return KW_NOT_COMPARED;
	verdict = kw_compare(sc);
	if (verdict == KW_DIFFERENT || verdict == KW_NOT_COMPARED)
		return verdict;
	return KW_OVERWRITTEN;
}

/* Compare and count. */
static __always_inline int kw_verify(void *ctx, struct kw_scratch *sc)
{
	struct kw_counters *c = kw_counters();
	int verdict = kw_compare(sc);

	if (verdict == KW_DIFFERENT)
		verdict = kw_compare_again(ctx, sc);
	if (!c || verdict == KW_NOT_COMPARED)
		return verdict;
	c->checked++;
	if (verdict == KW_MISSING_CALLER)
		c->missing_caller++;
	else if (verdict == KW_WRONG_START)
		c->wrong_start++;
	else if (verdict == KW_STACKED_HOOKS)
		c->stacked_hooks++;
	else if (verdict == KW_NESTED_NMI)
		c->nested_nmi++;
	else if (verdict == KW_TASK_SWITCH)
		c->task_switch++;
	else if (verdict == KW_STACK_SWITCH)
		c->stack_switch++;
	else if (verdict == KW_OVERWRITTEN)
		c->overwritten++;
	else if (verdict != KW_SAME)
		c->mismatches++;
	return verdict;
}

#endif /* KWALK_VERIFY_H */
