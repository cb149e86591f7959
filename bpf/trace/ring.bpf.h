/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * ring.bpf.h: the ring buffer, and the per-CPU counters of lost hits.
 */
#ifndef KWALK_RING_H
#define KWALK_RING_H

#include "kernel.h"
#include "kwalk.h"
#include <bpf/bpf_helpers.h>

/* Ring buffer; user space sets its size before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kw_counters);
} counters SEC(".maps");

static __always_inline struct kw_counters *kw_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/* Count a stack that is truncated because the tree is full. */
static __always_inline void kw_count_full(void)
{
	struct kw_counters *c = kw_counters();

	if (c)
		c->pool_full++;
}

static __always_inline void kw_count_user_mode(void)
{
	struct kw_counters *c = kw_counters();

	if (c)
		c->lost_user_mode++;
}

/* Count a hit with a record of this size that the ring did not take. */
static __always_inline void kw_count_refused(__u64 size)
{
	struct kw_counters *c = kw_counters();
	__u64 used;

	if (!c)
		return;
	/* If there is room for the record, the lock was held (an NMI only tries it). */
	used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	if (used + size + 8 < bpf_ringbuf_query(&events, BPF_RB_RING_SIZE))
		c->lost_ring_busy++;
	else
		c->lost_ring_full++;
}

#endif /* KWALK_RING_H */
