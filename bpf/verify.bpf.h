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
 * Do the kernel's frames from `theirs` on equal the walk's from `ours` on? Global, like the
 * next one: the verifier goes through it once.
 */
__noinline int kw_equal(struct kw_scratch *sc, __u32 ours, __u32 theirs)
{
	__u32 nr, kernel_nr;

	if (!sc)
		return false;
	nr = sc->walk.event.nr;
	kernel_nr = sc->kernel.event.nr;
	for (__u32 i = 0; i < KW_MAX_FRAMES; i++) {
		__u32 own = ours + i, other = theirs + i;

		if (own >= nr || other >= kernel_nr) {
			/* Both end here, or one was cut off. */
			if (own >= nr && (other >= kernel_nr || nr >= cfg.max_frames))
				return true;
			return other >= kernel_nr && kernel_nr >= cfg.kernel_frames;
		}
		if (sc->walk.frames[own & 127] != sc->kernel.frames[other & 127])
			return false;
	}
	return true;
}

/* Compare sc->walk with sc->kernel. */
__noinline int kw_compare(struct kw_scratch *sc)
{
	__u32 start = 0;

	if (!sc)
		return KW_DIFFERENT;
	if (cfg.place == KW_PLACE_RETURN && !cfg.fentry) {
		/* FUNC has returned; the kernel begins with the caller. */
		if (kw_equal(sc, 1, 0))
			return KW_SAME;
		return sc->walk.event.flags & KW_EV_STACKED ? KW_STACKED_HOOKS : KW_DIFFERENT;
	}
	while (start < KW_TRACER_FRAMES && !kw_is_entry(sc->kernel.frames[start]))
		start++;
	if (start >= KW_TRACER_FRAMES)
		return KW_DIFFERENT;
	if (kw_equal(sc, 1, start + 1))
		return KW_SAME;
	if (sc->walk.event.flags & KW_EV_STACKED)
		return KW_STACKED_HOOKS;
	if (kw_unwinder() == KW_UNWIND_FP) {
		if (kw_equal(sc, 2, start + 1))
			return KW_MISSING_CALLER;
	} else if (cfg.place == KW_PLACE_INSIDE && sc->kernel.frames[0] == cfg.func + 1 &&
		   kw_place_rule(cfg.func) != kw_place_rule(cfg.func + 1)) {
		return KW_WRONG_START;
	}
	return KW_DIFFERENT;
}

/* Compare, count, and on the first differences send the other side as well. */
static __always_inline int kw_verify(struct kw_counters *c, struct kw_scratch *sc)
{
	int verdict = kw_compare(sc);

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
