/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * tree.bpf.h: the calling-context tree: find a node, add one.
 *
 * User space maps its memory and reads it while programs run. Each CPU has its own tree, from
 * roots of its own, and the kernel never runs one program twice at once on a CPU (the second entry
 * is a recursion miss). So a node has one writer; only the table that finds nodes, and the number
 * of nodes in use, are shared by all CPUs, and they change only when a node is added.
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

/* Sizes are set by user space before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct kw_node[KW_MIN_NODES]));
} tree SEC(".maps");

/* For each hash of (parent, address) the node that was added last; as many as there are nodes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_MIN_NODES * sizeof(__u32));
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} nodes_used SEC(".maps");

/*
 * With cfg.sampled: for each node, how many events it stands for, in KW_WEIGHT_ONEs. One element,
 * of a word for each node.
 */
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

/* Of the walk that is under way on a CPU. */
struct kw_walk {
	struct kw_state s;
	__u64 ctx;
	__u64 func;    /* with cfg.many: the one that was called */
	__u64 weight;  /* with cfg.sampled: what this event counts for */
	__u64 bp_from; /* where BP is to be loaded from when somebody wants it, or 0 */
	__u32 node;    /* of the deepest frame */
	__u32 found;   /* its child that the next frame is, or 0: not known */
	__u32 flags;   /* KW_EV_* */
	__u32 other;   /* the other side's node, where walk and kernel disagree */
	int step;      /* KW_STEP_*: how the walk ended */
	__u32 to_end;  /* kw_arrive() is to lead to the stack's end; else 0 */
};

struct kw_cpu {
	struct kw_node walked; /* the root of what was walked */
	struct kw_node kernel; /* the root of the kernel's own stacks */
	struct kw_walk walk;
	__u64 random; /* of xorshift64 */
	__u64 second; /* when that of the last record began, and its text */
	__u32 clock[2];
};

_Static_assert(sizeof(struct kw_cpu) <= KW_CPU_BYTES, "a CPU's part of the tree");

/* The first part of the tree is node 0, which is no frame's. */
static __always_inline __u32 kw_cpu_offset(void)
{
	return (1 + bpf_get_smp_processor_id()) * KW_CPU_BYTES;
}

static __always_inline struct kw_cpu *kw_cpu_at(void *nodes, __u32 offset)
{
	return nodes + (offset & cfg.node_mask & ~(KW_CPU_BYTES - 1));
}

/* Any offset will do: what lies outside is wrapped to the inside. */
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

/* A blank node, which kw_find() does not find yet; 0 if there is no room. */
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
 * Let kw_find() find a node, which is complete by now. Where other CPUs get in the way too often
 * it stays hidden, and another one is made for the same frame: readers add up equal ones.
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
	return 0;
}

/* The child of parent with this address, made if need be; 0 if there is no room. */
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

/* FUNC, with the frames of its callers below it. */
static __always_inline bool kw_is_function(const struct kw_node *node)
{
	return node->kind == KW_NODE_ROOT || node->kind == KW_NODE_FUNCTION;
}

/* With cfg.many: the node of a function under a root, or the root itself if there is no room. */
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
 * With cfg.sampled events are taken with a chance of this in 2^32, which user space changes while
 * programs run: in node 0, which is no frame's.
 */
#define kw_chance(nodes) (*(volatile __u32 *)&((struct kw_node *)(nodes))->rule)

/*
 * Chosen at random, since every n-th would always be the same one of events that come in patterns;
 * by xorshift64 (Marsaglia, 2003), since this is all that most events cost. Those that are left
 * alone are counted as the hits of the other root.
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
 * An event was counted in the node at an offset. The chance changes from time to time: what each
 * event stands for is to be added up when it is counted (Horvitz and Thompson, 1952).
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
