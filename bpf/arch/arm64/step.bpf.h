/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * step.bpf.h: from a frame to the next one on arm64. All kernels have frame records and nothing
 * else.
 */
#ifndef KWALK_ARM64_STEP_H
#define KWALK_ARM64_STEP_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/arm64/regs.bpf.h"
#include "arch/arm64/fp.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/text.bpf.h"
#include "unwind/hook.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/fp.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

static __always_inline __u32 kw_unwinder(void)
{
	return KW_UNWIND_FP;
}

/* The caller's FP: kretprobe_instance.fp, ftrace_ret_stack.retp. */
static __always_inline __u64 kw_hook_cookie(const struct kw_state *s)
{
	return s->bp;
}

/* Kind of the code at an address outside of vmlinux's text. */
__noinline __u32 kw_source_of(__u64 ip)
{
	__u64 found;

	if (kw_in_init_text(ip))
		return KW_SOURCE_IMAGE;
	found = kw_module_of(ip);
	if (found > KW_TREE_UNKNOWN)
		return KW_SOURCE_MODULE;
	if (!found)
		found = kw_in_bpf(ip);
	return found > KW_TREE_UNKNOWN ? KW_SOURCE_BPF : KW_SOURCE_ONCE;
}

/*
 * Complete the frame at s->ip: recover the address that a tracer replaced, tell the kind of the
 * code. The kernel's unwinder takes every address for code.
 */
__noinline int kw_settle(struct kw_state *s)
{
	if (!s)
		return KW_STEP_UNKNOWN;
	if (kw_is_hooked(s)) {
		s->ip = kw_recover(s->ip, kw_hook_cookie(s));
		if (s->ip == cfg.graph_return) {
			s->ip = kw_recover(s->ip, kw_hook_cookie(s));
			s->stacked = 1;
		}
		if (!s->ip)
			return KW_STEP_UNKNOWN;
	}
	s->rule = 0;
	s->source = KW_SOURCE_IMAGE;
	if (kw_in_vmlinux(s->ip))
		return KW_STEP_FRAME;
	/* A record of zeros: the last one, if a walk came to it by a frame that rarely is. */
	if (s->ip == kw_code_address(0) && !s->regs)
		return s->sp - KW_RECORD_BYTES == kw_last_record() ? KW_STEP_END : KW_STEP_UNKNOWN;
	s->source = kw_source_of(s->ip);
	return KW_STEP_FRAME;
}

static __always_inline bool kw_take_unlisted(struct kw_state *s)
{
	return false;
}

static __always_inline void kw_classify(void *nodes, struct kw_node *node, const struct kw_walk *w)
{
	kw_classify_fp(node, &w->s);
}

static __always_inline int kw_go_on(struct kw_walk *w, const struct kw_node *node)
{
	int step = kw_go_on_fp(w, node);

	return step == KW_STEP_FRAME && w->to_end ? KW_STEP_ARRIVED : step;
}

#endif /* KWALK_ARM64_STEP_H */
