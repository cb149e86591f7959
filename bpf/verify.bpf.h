/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * verify.bpf.h: the walk and the kernel's own unwinder on the same event, frame for frame.
 */
#ifndef KWALK_VERIFY_H
#define KWALK_VERIFY_H

enum kw_verdict {
	KW_SAME,
	KW_MISSING_CALLER, /* but for the direct caller, which the kernel does not see */
	KW_WRONG_START,	   /* the kernel starts at the address behind the int3 of a kprobe */
	KW_STACKED_HOOKS,  /* the kernel undoes one of two replacements of a return address */
	KW_DIFFERENT,
	KW_NOT_COMPARED, /* the kernel's stack was cut off before FUNC's caller */
};

#define KW_TRACER_FRAMES 8 /* of the program and its trampoline, which come before FUNC */

/* Whether this event is to be compared. */
static __always_inline bool kw_must_verify(const struct kw_counters *c)
{
	if (cfg.self_check && c->hits <= cfg.self_check)
		return true;
	return cfg.verify && (cfg.verify == 1 || bpf_get_prandom_u32() % cfg.verify == 0);
}

/* The kernel's stack of this event, as it gives it; false if it gives none. */
static __always_inline bool kw_ask_kernel(void *ctx, struct kw_scratch *sc)
{
	__s64 bytes = bpf_get_stack(ctx, sc->kernel.frames, KW_MAX_FRAMES * sizeof(__u64), 0);

	sc->kernel.event = sc->walk.event;
	sc->kernel.event.nr = bytes > 0 ? bytes / sizeof(__u64) : 0;
	if (sc->kernel.event.nr >= cfg.kernel_frames)
		sc->kernel.event.flags |= KW_EV_TRUNCATED;
	return bytes > 0;
}

/*
 * Do the kernel's frames from `theirs` on equal the walk's from `ours` on? An address that is
 * excused (0: none) may stand in place of any, and the kernel end there. Global, like the next
 * one: the verifier goes through it once.
 */
__noinline int kw_equal(struct kw_scratch *sc, __u32 ours, __u32 theirs, __u64 excused)
{
	__u32 nr, kernel_nr, both, i;
	__u64 kernels;

	if (!sc)
		return false;
	nr = sc->walk.event.nr;
	kernel_nr = sc->kernel.event.nr;
	if (nr < ours || kernel_nr < theirs)
		return false;
	both = nr - ours < kernel_nr - theirs ? nr - ours : kernel_nr - theirs;

	for (i = 0; i < KW_MAX_FRAMES; i++) {
		if (i >= both)
			break;
		kernels = sc->kernel.frames[(theirs + i) & 127];
		if (sc->walk.frames[(ours + i) & 127] != kernels && kernels != excused)
			return false;
	}
	if (nr - ours == kernel_nr - theirs)
		return true;
	if (nr - ours == both) /* the walk ends first */
		return sc->walk.event.flags & KW_EV_TRUNCATED;
	return kernel_nr >= cfg.kernel_frames ||
	       (excused && sc->kernel.frames[(kernel_nr - 1) & 127] == excused);
}

/* The walk from FUNC's caller on, the kernel from `theirs` on. */
static __always_inline int kw_compare_from(struct kw_scratch *sc, __u32 theirs)
{
	/* Where two hooks were stacked the kernel shows the trampoline of one. */
	__u64 hook = sc->walk.event.flags & KW_EV_STACKED ? cfg.graph_return : 0;

	if (kw_equal(sc, 1, theirs, 0))
		return KW_SAME;
	if (kw_unwinder() == KW_UNWIND_FP && kw_equal(sc, 2, theirs, 0))
		return KW_MISSING_CALLER;
	if (hook && kw_equal(sc, 1, theirs, hook))
		return KW_STACKED_HOOKS;
	if (hook && kw_unwinder() == KW_UNWIND_FP && kw_equal(sc, 2, theirs, hook))
		return KW_STACKED_HOOKS;
	return KW_DIFFERENT;
}

/* Compare sc->walk with sc->kernel. */
__noinline int kw_compare(struct kw_scratch *sc)
{
	__u32 start = 0, kernel_nr;
	int verdict;

	if (!sc)
		return KW_DIFFERENT;
	kernel_nr = sc->kernel.event.nr;
	if (cfg.place == KW_PLACE_RETURN && !cfg.fentry) /* the kernel begins with the caller */
		return kw_compare_from(sc, 0);
	if (sc->walk.event.flags & KW_EV_JUMPED) { /* the caller follows the trampoline's frame */
		while (start < KW_TRACER_FRAMES && start < kernel_nr &&
		       sc->walk.frames[1] != sc->kernel.frames[start + 1])
			start++;
	} else {
		while (start < KW_TRACER_FRAMES && start < kernel_nr &&
		       !kw_is_entry(sc->kernel.frames[start]))
			start++;
	}
	if (start + 1 >= kernel_nr && kernel_nr >= cfg.kernel_frames)
		return KW_NOT_COMPARED;
	if (start >= KW_TRACER_FRAMES || start >= kernel_nr)
		return KW_DIFFERENT;
	verdict = kw_compare_from(sc, start + 1);
	if (verdict == KW_DIFFERENT && kw_unwinder() == KW_UNWIND_ORC &&
	    cfg.place == KW_PLACE_INSIDE && sc->kernel.frames[0] == cfg.func + 1 &&
	    kw_place_rule(cfg.func) != kw_place_rule(cfg.func + 1) &&
	    (kernel_nr == start + 1 || kw_equal(sc, 2, start + 1, 0)))
		return KW_WRONG_START;
	return verdict;
}

/* Compare and count. */
static __always_inline int kw_verify(struct kw_counters *c, struct kw_scratch *sc)
{
	int verdict = kw_compare(sc);

	if (verdict == KW_NOT_COMPARED)
		return verdict;
	c->checked++;
	if (verdict == KW_MISSING_CALLER)
		c->missing_caller++;
	else if (verdict == KW_WRONG_START)
		c->wrong_start++;
	else if (verdict == KW_STACKED_HOOKS)
		c->stacked_hooks++;
	else if (verdict != KW_SAME)
		c->mismatches++;
	return verdict;
}

#endif /* KWALK_VERIFY_H */
