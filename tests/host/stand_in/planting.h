/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * planting.h: programs that grow a tree and count in it without a walk, by the functions of bpf/.
 *
 * For tests of user space, which say what stacks there are and how often each was seen.
 */
#ifndef HOST_PLANTING_H
#define HOST_PLANTING_H

#include "kwalk.h"
#include "trace/hit.bpf.h"

struct host_planting {
	__u64 ip;
	__u64 weight;	/* of each hit, in 1/KW_WEIGHT_ONE */
	__u32 at;	/* in: the node to start from; out: the node found or added */
	__u32 kind;	/* KW_NODE_* */
	__u32 flags;	/* KW_EV_* */
	__u32 times;	/* hits */
	__s32 stack_id; /* the helper's */
};

/* The child of a node. */
static int host_child(struct host_planting *ask)
{
	void *nodes = kw_tree();

	if (ask->kind == KW_NODE_FUNCTION)
		ask->at = kw_of_function(nodes, ask->at, ask->ip);
	else
		ask->at = kw_child(nodes, ask->at, ask->ip, ask->kind);
	return 0;
}

/* A node that the hash table does not have, as after collisions with other CPUs. */
static int host_take(struct host_planting *ask)
{
	ask->at = kw_take(ask->at, ask->ip);
	kw_at(kw_tree(), ask->at)->kind = ask->kind;
	return 0;
}

/* The node of the current task's group. */
static int host_group(struct host_planting *ask)
{
	ask->at = kw_of_group(kw_tree(), ask->at);
	return 0;
}

/* The stack of the kernel's unwinder; ip is its mark. */
static int host_kernels(struct host_planting *ask)
{
	struct kw_scratch *sc = kw_scratch();

	if (!kw_ask_kernel(ask, sc))
		sc->kernel.nr = 0;
	ask->at = kw_add_kernels(sc, ask->ip);
	return 0;
}

/* Hits of the manual method whose stack ends at a node. */
static int host_deliver(struct host_planting *ask)
{
	struct kw_walk w = {.node = ask->at, .flags = ask->flags, .weight = ask->weight};
	__u32 i;

	for (i = 0; i < ask->times; i++)
		kw_deliver(ask, kw_tree(), &w, false);
	return 0;
}

/* Hits of the helper method. */
static int host_count(struct host_planting *ask)
{
	__u32 i;

	for (i = 0; i < ask->times; i++)
		kw_count_stack(kw_counters(), ask->stack_id, ask->at, ask->weight);
	return 0;
}

#endif /* HOST_PLANTING_H */
