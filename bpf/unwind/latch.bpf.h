/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * latch.bpf.h: search the kernel's latched trees: which module or BPF program an address is in.
 *
 * The kernel keeps two copies and changes one while readers use the other
 * (latch_tree_find() in include/linux/rbtree_latch.h). A tree that changed under the search
 * answers nothing, and the event is given to the kernel's unwinder. Programs run under RCU, so
 * that no node's memory goes away meanwhile.
 */
#ifndef KWALK_LATCH_H
#define KWALK_LATCH_H

#include "kernel.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_TREE_DEPTH 48 /* a red-black tree of 2^24 nodes */

struct kw_tree_search {
	__u64 ip;
	__u64 node;  /* struct rb_node, 0 at the end */
	__s32 start; /* from node to the first address */
	__s32 size;  /* from node to the 32-bit size; 0 if the end is given instead */
	__s32 end;   /* from node to the last address */
	__u32 done;  /* found, or known not to be in it */
};

#define KW_TREE_UNKNOWN 1 /* the tree changed meanwhile */

/* Bytes from one member of a structure to another of it. */
#define kw_distance(type, from, to)                                                                \
	((__s32)bpf_core_field_offset(type, to) - (__s32)bpf_core_field_offset(type, from))

/*
 * Bytes from one member of a rb_node, or from one node of the two, to the next. libbpf looks
 * through all of the kernel's types for each one that is named, so they are asked for as parts
 * of one that is needed anyway.
 */
#define kw_node_distance(from, to) kw_distance(struct bpf_ksym, tnode.from, tnode.to)

static long kw_tree_next(__u32 index, struct kw_tree_search *s)
{
	__u64 start, after;

	s->done = !s->node;
	if (s->done)
		return 1;
	start = kw_load(s->node + s->start);
	after = s->size ? start + (__u32)kw_load(s->node + s->size) : kw_load(s->node + s->end) + 1;
	if (s->ip < start) {
		s->node = kw_load(s->node + kw_node_distance(node[0], node[0].rb_left));
	} else if (s->ip >= after) {
		s->node = kw_load(s->node + kw_node_distance(node[0], node[0].rb_right));
	} else {
		s->done = 1;
		return 1;
	}
	return 0;
}

/*
 * The latch_tree_node that ip lies in, 0 if it is in none, or KW_TREE_UNKNOWN. The offsets in
 * search are those from a latch_tree_node.
 */
static __always_inline __u64 kw_tree_find(__u64 root, struct kw_tree_search *search)
{
	__u32 sequence, shift;

	sequence = kw_load_field(root, struct latch_tree_root, seq);
	shift = sequence & 1 ? kw_node_distance(node[0], node[1]) : 0;
	search->start -= shift;
	search->end -= shift;
	if (search->size)
		search->size -= shift;
	search->node = sequence & 1 ? kw_load_field(root, struct latch_tree_root, tree[1])
				    : kw_load_field(root, struct latch_tree_root, tree[0]);
	bpf_loop(KW_TREE_DEPTH, kw_tree_next, search, 0);
	if (!search->done || (__u32)kw_load_field(root, struct latch_tree_root, seq) != sequence)
		return KW_TREE_UNKNOWN;
	return search->node ? search->node - shift : 0;
}

#endif /* KWALK_LATCH_H */
