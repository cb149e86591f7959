/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * fp.bpf.h: nodes and steps of frames found by frame pointers, for any architecture.
 */
#ifndef KWALK_FP_H
#define KWALK_FP_H

#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include KW_ARCH_FP
#include <bpf/bpf_helpers.h>

/*
 * Set a node's kind. Entry code has no frame of its own below a task's user registers. delta is the
 * distance to the next return address this time; walks go by BP, not by it.
 */
static __always_inline void kw_classify_fp(struct kw_node *node, const struct kw_state *s)
{
	if (node->ip - cfg.entry_start < cfg.entry_end - cfg.entry_start || kw_last_frame(s))
		node->kind = KW_NODE_LAST;
	else
		node->kind = KW_NODE_PLAIN;
	if (s->bp - s->sp < KW_NEAR && !(s->bp & 7))
		node->delta = s->bp - s->sp + 16;
}

/* Step from node's frame to the next, in w->s. */
static __always_inline int kw_go_on_fp(struct kw_walk *w, const struct kw_node *node)
{
	int step;

	if (node->kind == KW_NODE_LAST && kw_last_frame(&w->s))
		return KW_STEP_END;
	step = kw_step_fp_any(&w->s);
	if (step != KW_STEP_FRAME)
		return step;
	return w->s.regs ? KW_STEP_ARRIVED : KW_STEP_FRAME;
}

#endif /* KWALK_FP_H */
