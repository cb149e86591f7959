/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * latch.bpf.h: search of the kernel's latch trees, which map addresses to modules and BPF programs.
 *
 * The kernel keeps two copies of a tree and changes one while readers use the other
 * (latch_tree_find() in include/linux/rbtree_latch.h). A search that overlaps a change has no
 * result, and the hit falls back to the kernel's unwinder. Programs run under RCU: nodes stay
 * allocated.
 */
#ifndef KWALK_LATCH_H
#define KWALK_LATCH_H

#include "kernel.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_TREE_DEPTH 48 /* a red-black tree of 2^24 nodes */

/* Search of a latch tree for an address. Offsets, in bytes, are from the tree's node. */
struct kw_tree_search {
	__u64 ip;
	__u64 node;  /* current struct rb_node, 0 behind a leaf */
	__s32 start; /* offset of the first address */
	__s32 size;  /* offset of the 32-bit size; 0: end is given instead */
	__s32 end;   /* offset of the last address */
	__u32 done;  /* the search has a result */
};

#define KW_TREE_UNKNOWN 1 /* result of a search: the tree changed meanwhile */

/* Bytes from one member of a structure to another. */
#define kw_distance(type, from, to)                                                                \
	((__s32)bpf_core_field_offset(type, to) - (__s32)bpf_core_field_offset(type, from))

/*
 * Bytes from one member of a struct rb_node, or one of the two nodes, to another. Through struct
 * bpf_ksym, since libbpf searches all of the kernel's types for each type that is named.
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
 * The struct latch_tree_node of the code that holds search->ip, 0 if there is none, or
 * KW_TREE_UNKNOWN. Offsets in search are from a struct latch_tree_node.
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
