/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * helper.bpf.h: the helper method: bpf_get_stackid() with one of two stack maps.
 *
 * User space switches control.active_map, waits until no program can still use the other map, then
 * reads and clears that one. So the kernel never reuses an id while a record has it.
 */
#ifndef KWALK_HELPER_H
#define KWALK_HELPER_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "trace/group.bpf.h"
#include <bpf/bpf_helpers.h>

struct kw_stack_map {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_MAX_FRAMES * sizeof(__u64));
};

struct kw_stack_map stacks_a SEC(".maps");
struct kw_stack_map stacks_b SEC(".maps");

/* Barrier: an update of a map in a map waits until running programs end. */
struct kw_barrier_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct kw_barrier_inner barrier_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct kw_barrier_inner);
} barrier SEC(".maps") = {.values = {&barrier_inner}};

/* Key of the map counted: a stack, and its group. */
struct kw_counted {
	__s32 stack_id;
	__u32 node;	/* node of FUNC (cfg.many), or of its caller (KW_EV_JUMPED); else 0 */
	__u64 group[2]; /* cfg.per: tgid, CPU, id of a cgroup, or comm */
};

struct kw_count {
	__u64 count;
	__u64 weight;		/* cfg.sampled: sum of the hits' weights, in 1/KW_WEIGHT_ONE */
	char comm[KW_COMM_LEN]; /* KW_PER_PID: the process's first comm */
};

/* Counts of stacks, if no records are sent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct kw_counted);
	__type(value, struct kw_count);
} counted SEC(".maps");

static __always_inline void kw_count_helper_loss(struct kw_counters *c, __s64 error)
{
	if (error == -EEXIST)
		c->lost_eexist++;
	else if (error == -ENOMEM)
		c->lost_enomem++;
	else if (error == -EFAULT)
		c->lost_efault++;
	else if (error == -EBUSY)
		c->lost_ebusy++;
	else
		c->lost_other++;
}

static __always_inline __s64 kw_stack_id(void *ctx, __u16 *flags)
{
	if (*(volatile __u32 *)&control.active_map) {
		*flags |= KW_EV_MAP;
		return bpf_get_stackid(ctx, &stacks_b, 0);
	}
	return bpf_get_stackid(ctx, &stacks_a, 0);
}

static __always_inline bool kw_per_process(void)
{
	const __u32 per = cfg.per;

	return per == KW_PER_PID || per == KW_PER_NUMBER;
}

static __always_inline void kw_count_stack(struct kw_counters *c, __s32 id, __u32 node,
					   __u64 weight)
{
	struct kw_counted key = {.stack_id = id, .node = node};
	struct kw_count *known, first = {.count = 1, .weight = weight};
	struct kw_group group;

	if (cfg.per) {
		kw_own_group(&group);
		key.group[0] = group.value[0];
		key.group[1] = group.value[1];
		if (kw_bits_tell(&group)) {
			key.group[0] = group.bits;
			key.group[1] = 0;
		}
	}
	known = bpf_map_lookup_elem(&counted, &key);
	if (known) {
		known->weight += weight;
		if (!known->count++ && kw_per_process())
			bpf_get_current_comm(known->comm, sizeof(known->comm));
		return;
	}
	if (kw_per_process())
		bpf_get_current_comm(first.comm, sizeof(first.comm));
	if (bpf_map_update_elem(&counted, &key, &first, BPF_ANY))
		c->lost_map_full++;
}

#endif /* KWALK_HELPER_H */
