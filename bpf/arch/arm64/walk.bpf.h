/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* walk.bpf.h: the walk on arm64: by frame records. */
#ifndef KWALK_ARM64_WALK_H
#define KWALK_ARM64_WALK_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/state.bpf.h"
#include "cct/tree.bpf.h"
#include "cct/walk.bpf.h"
#include <bpf/bpf_helpers.h>

/* Walk from the state that a start left in w. */
static __always_inline int kw_walk(struct kw_walk *w, void *nodes, int step, struct kw_node **end)
{
	if (step != KW_STEP_FRAME && step != KW_STEP_ARRIVED) {
		*end = nodes + (w->node & cfg.node_mask);
		return step;
	}
	return cfg.typed_loads ? kw_walk_fp(w, nodes, step, true, end)
			       : kw_walk_fp(w, nodes, step, false, end);
}

#endif /* KWALK_ARM64_WALK_H */
