/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * kernels.bpf.h: the kernel's own stack of a hit (bpf_get_stack()): in an array, and in the tree.
 */
#ifndef KWALK_KERNELS_H
#define KWALK_KERNELS_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "cct/tree.bpf.h"
#include <bpf/bpf_helpers.h>

struct kw_frames {
	__u32 nr;
	__u32 flags; /* KW_EV_* */
	__u64 frames[KW_MAX_FRAMES + 1];
};

/*
 * Per-CPU buffers, too large for the BPF stack. A program never runs twice at once on a CPU (the
 * second run is a recursion miss).
 */
struct kw_scratch {
	__u64 func;
	__u64 switched; /* kw_caller_elsewhere() of this hit */
	struct kw_frames walk;
	struct kw_frames kernel;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kw_scratch);
} scratch SEC(".maps");

static __always_inline struct kw_scratch *kw_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* Get the kernel's stack of this hit; false if there is none. */
static __always_inline bool kw_ask_kernel(void *ctx, struct kw_scratch *sc)
{
	__s64 bytes = bpf_get_stack(ctx, sc->kernel.frames, KW_MAX_FRAMES * sizeof(__u64), 0);

	sc->kernel.nr = bytes > 0 ? bytes / sizeof(__u64) : 0;
	return bytes > 0;
}

struct kw_reading {
	struct kw_scratch *sc;
	void *nodes;
	__u32 at;
};

static long kw_read_next(__u32 i, struct kw_reading *reading)
{
	struct kw_node *node = kw_at(reading->nodes, reading->at);

	reading->sc->walk.frames[node->depth & 127] = node->ip;
	reading->at = node->parent;
	return kw_is_function(node);
}

/* Copy the frames of the stack that ends at a node to sc->walk. */
__noinline int kw_read_frames(struct kw_scratch *sc, __u32 at)
{
	struct kw_reading reading = {.sc = sc, .nodes = kw_tree(), .at = at};
	struct kw_node *node;

	if (!sc || !reading.nodes)
		return 0;
	node = kw_at(reading.nodes, at);
	if (node->kind == KW_NODE_CUT) {
		reading.at = node->parent;
		node = kw_at(reading.nodes, reading.at);
	}
	sc->walk.nr = node->depth + 1;
	bpf_loop(KW_MAX_FRAMES + 1, kw_read_next, &reading, 0);
	return 0;
}

struct kw_adding {
	struct kw_scratch *sc;
	void *nodes;
	__u32 at; /* node of the deepest frame so far */
	bool full;
};

static long kw_add_kernels_next(__u32 i, struct kw_adding *adding)
{
	__u64 ip = adding->sc->kernel.frames[i & 127];
	__u32 next = kw_child(adding->nodes, adding->at, ip, KW_NODE_KERNEL);

	adding->full = !next;
	if (next)
		adding->at = next;
	return adding->full;
}

/*
 * Add the kernel's stack, unchanged, to the tree: under the root of the kernel's stacks (and there
 * under the function of this hit, with cfg.many). Its first node is mark: FUNC's caller as the walk
 * found it, 1 if it did not, with the highest bit cleared for KW_EV_JUMPED; user space finds FUNC
 * in the kernel's stack by it. Returns the node where the stack ends; sc->kernel.flags has
 * KW_EV_TRUNCATED if the tree is full.
 */
__noinline __u32 kw_add_kernels(struct kw_scratch *sc, __u64 mark)
{
	struct kw_adding adding = {.sc = sc, .nodes = kw_tree()};
	__u32 at = kw_cpu_offset() + KW_NODE_BYTES;

	if (!sc || !adding.nodes)
		return 0;
	if (cfg.many)
		at = kw_of_function(adding.nodes, at, sc->func);
	adding.at = kw_child(adding.nodes, at, mark, KW_NODE_KERNEL);
	if (adding.at)
		bpf_loop(sc->kernel.nr, kw_add_kernels_next, &adding, 0);
	else
		adding = (struct kw_adding){.at = at, .full = true};
	sc->kernel.flags = adding.full ? KW_EV_TRUNCATED : 0;
	return adding.at;
}

#endif /* KWALK_KERNELS_H */
