/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * tree.bpf.h: the calling-context tree: lookup and insertion of nodes.
 *
 * User space maps the tree's memory and reads it while programs run. Each CPU has a tree of its
 * own, one for each level of programs, and the kernel never runs a program twice at once on a CPU
 * (the second run is a recursion miss): each node has one writer. All share the hash table of nodes
 * and the number of nodes in use, which change only when a node is added.
 */
#ifndef KWALK_TREE_H
#define KWALK_TREE_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/state.bpf.h"
#include <bpf/bpf_helpers.h>

#define KW_MAX_CHAIN   64
#define KW_MAX_RETRIES 16

/* Nodes; user space sets the size before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct kw_node[KW_MIN_NODES]));
} tree SEC(".maps");

/* Hash table by (parent, address): the node added last; as many buckets as nodes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_MIN_NODES * sizeof(__u32));
} buckets SEC(".maps");

/* Number of nodes in use. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} nodes_used SEC(".maps");

/* cfg.sampled: the sum of weights of each node's hits, in 1/KW_WEIGHT_ONE; one word a node. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_MIN_NODES * sizeof(__u64));
} weights SEC(".maps");

static __always_inline void *kw_tree(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tree, &zero);
}

/* The walk in progress on a CPU. */
struct kw_walk {
	struct kw_state s;
	__u64 ctx;     /* the program's context, or a tracepoint program's frame, as a number */
	__u64 func;    /* cfg.many: the function of this hit */
	__u64 weight;  /* cfg.sampled: weight of this hit, in 1/KW_WEIGHT_ONE */
	__u64 bp_from; /* address to load s.bp from before use, or 0 */
	__u32 node;    /* node of the deepest frame */
	__u32 found;   /* its child for the next frame, if known, or 0 */
	__u32 flags;   /* KW_EV_* */
	__u32 other;   /* KW_EV_DIFFERS: node of the other side */
	int step;      /* enum kw_step that ended the walk */
	__u32 to_end;  /* kw_arrive() must not return to the fast path */
};

/* A CPU's part of the tree before all frames. */
struct kw_cpu {
	struct kw_node walked; /* root of walked stacks; its hits are all hits */
	struct kw_node kernel; /* root of the kernel's own stacks; its hits are the skipped ones */
	struct kw_hot hot;
	struct kw_walk walk;
	__u64 random;	/* state of xorshift64 */
	__u64 second;	/* CLOCK_MONOTONIC when the last record's second began, in ns */
	__u32 clock[2]; /* text of that second, "HH:MM:SS" */
};

_Static_assert(sizeof(struct kw_cpu) <= KW_CPU_BYTES, "a CPU's part of the tree");

/*
 * Offset of this CPU's part, of level 0 or of the program's level; the first KW_CPU_BYTES begin
 * with node 0.
 */
static __always_inline __u32 kw_part_offset(const bool nested)
{
	return (1 + (nested ? cfg.first_part : 0) + bpf_get_smp_processor_id()) * KW_CPU_BYTES;
}

static __always_inline __u32 kw_cpu_offset(void)
{
	return kw_part_offset(true);
}

static __always_inline struct kw_cpu *kw_cpu_at(void *nodes, __u32 offset)
{
	return nodes + (offset & cfg.node_mask & ~(KW_CPU_BYTES - 1));
}

/* The node at an offset, modulo the size of the tree. */
static __always_inline struct kw_node *kw_at(void *nodes, __u64 offset)
{
	return nodes + (offset & cfg.node_mask);
}

static __always_inline __u32 *kw_bucket(void *heads, __u32 parent, __u64 ip)
{
	__u64 hash = (ip + ((__u64)parent << 20)) * 0x9e3779b97f4a7c15ULL;

	return heads + ((hash >> 32) & (cfg.node_mask / KW_NODE_BYTES)) * sizeof(__u32);
}

/* The child of parent with this address, or 0. */
__noinline __u32 kw_find(__u32 parent, __u64 ip)
{
	__u32 zero = 0, at, i;
	void *nodes = kw_tree(), *heads = bpf_map_lookup_elem(&buckets, &zero);
	struct kw_node *node;

	if (!nodes || !heads)
		return 0;
	at = *kw_bucket(heads, parent, ip);
	for (i = 0; i < KW_MAX_CHAIN && at; i++) {
		node = kw_at(nodes, at);
		if (node->ip == ip && node->parent == parent && node->kind != KW_NODE_STALE)
			return at;
		at = node->next;
	}
	return 0;
}

/* Allocate a node that kw_find() does not find yet; 0 if the tree is full. */
__noinline __u32 kw_take(__u32 parent, __u64 ip)
{
	__u32 zero = 0;
	__u64 *used = bpf_map_lookup_elem(&nodes_used, &zero), index;
	void *nodes = kw_tree();
	struct kw_node *node;

	if (!used || !nodes || *(volatile __u64 *)used >= cfg.nodes)
		return 0;
	index = __sync_fetch_and_add(used, 1);
	if (index >= cfg.nodes)
		return 0;
	node = kw_at(nodes, index * KW_NODE_BYTES);
	node->parent = parent;
	node->depth = kw_at(nodes, parent)->depth + 1;
	node->ip = ip;
	return index * KW_NODE_BYTES;
}

/*
 * Insert a complete node into the hash table. After KW_MAX_RETRIES collisions with other CPUs it
 * stays out, and the next hit adds another node for the same frame: readers add up equal nodes.
 *
 * Orders the node's members before all that follows, its first count above all, for other CPUs and
 * user space: an atomic operation that returns the old value is a full barrier if it stores, in the
 * kernel's JIT compilers as well (atomic_t.txt; emit_lse_atomic() and emit_ll_sc_atomic() in
 * arch/arm64/net/bpf_jit_comp.c). A compare-and-swap that fails orders nothing.
 */
__noinline int kw_link(__u32 at)
{
	__u32 zero = 0, *head, old, i;
	void *nodes = kw_tree(), *heads = bpf_map_lookup_elem(&buckets, &zero);
	struct kw_node *node;

	if (!nodes || !heads)
		return 0;
	node = kw_at(nodes, at);
	head = kw_bucket(heads, node->parent, node->ip);
	for (i = 0; i < KW_MAX_RETRIES; i++) {
		old = *(volatile __u32 *)head;
		node->next = old;
		if (__sync_val_compare_and_swap(head, old, at) == old)
			return 1;
	}
	__sync_lock_test_and_set(&node->count, 0);
	return 0;
}

/* The child of parent with this address, added if missing; 0 if the tree is full. */
static __always_inline __u32 kw_child(void *nodes, __u32 parent, __u64 ip, __u8 kind)
{
	__u32 at = kw_find(parent, ip);

	if (!at) {
		at = kw_take(parent, ip);
		if (at) {
			kw_at(nodes, at)->kind = kind;
			kw_link(at);
		}
	}
	return at;
}

/* Whether a node is FUNC, the parent of its callers. */
static __always_inline bool kw_is_function(const struct kw_node *node)
{
	return node->kind == KW_NODE_ROOT || node->kind == KW_NODE_FUNCTION;
}

/* cfg.many: the node of a function under a root, or the root itself if the tree is full. */
static __always_inline __u32 kw_of_function(void *nodes, __u32 root, __u64 func)
{
	struct kw_node *top = kw_at(nodes, root);
	__u32 at = top->hint;

	if (kw_at(nodes, at)->ip == func)
		return at;
	at = top->other;
	if (kw_at(nodes, at)->ip != func) {
		at = kw_find(root, func);
		if (!at) {
			at = kw_take(root, func);
			if (!at)
				return root;
			kw_at(nodes, at)->kind = KW_NODE_FUNCTION;
			kw_at(nodes, at)->depth = 0;
			kw_link(at);
		}
	}
	top->other = top->hint;
	top->hint = at;
	return at;
}

/*
 * cfg.sampled: the probability with which a hit is not skipped, in 1/2^32, less 1. User space
 * changes it, in node 0, while programs run.
 */
#define kw_chance(nodes) (*(volatile __u32 *)&((struct kw_node *)(nodes))->rule)

/*
 * Whether to skip this hit, at random: every n-th would always be the same of hits that come in
 * patterns. xorshift64 (Marsaglia, 2003) is cheap, and the whole cost of a skipped hit. Skipped
 * hits are counted in the root of the kernel's stacks.
 */
static __always_inline bool kw_sampled_out(void *nodes, struct kw_cpu *cpu)
{
	__u64 x = cpu->random, chance = kw_chance(nodes);

	if (!x)
		x = bpf_get_prandom_u32() | 1ULL << 32;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	cpu->random = x;
	if (x >> 32 > chance) {
		cpu->kernel.hits++;
		return true;
	}
	cpu->walk.weight = ((__u64)KW_WEIGHT_ONE << 32) / (chance + 1);
	return false;
}

/*
 * Add a hit's weight to the node at an offset. The probability changes over time, so the estimate
 * is the sum of the weights, 1/probability, of the hits (Horvitz and Thompson, 1952).
 */
static __always_inline void kw_weigh(__u64 at, __u64 weight)
{
	void *words;
	__u32 zero = 0;

	if (!cfg.sampled)
		return;
	words = bpf_map_lookup_elem(&weights, &zero);
	if (words)
		*(__u64 *)(words + (at & cfg.node_mask) / KW_NODE_BYTES * sizeof(__u64)) += weight;
}

#endif /* KWALK_TREE_H */
