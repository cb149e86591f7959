/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * event.bpf.h: the maps, the ledger's counters, and the ring.
 */
#ifndef KWALK_EVENT_H
#define KWALK_EVENT_H

/* Its size is set by user space before loading. */
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

/* The tree has no room for all of an event. */
static __always_inline void kw_count_full(void)
{
	struct kw_counters *c = kw_counters();

	if (c)
		c->pool_full++;
}

/* Who was it, and when. */
static __always_inline void kw_fill(struct kw_event *record)
{
	__u64 ids = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), us, task;

	record->time_ns = now;
	/* In parts that the reader need not compute with: here it is much cheaper than there. */
	us = (now + cfg.epoch_ns) / 1000;
	record->us = us % 1000;
	record->minute_ms = us / 1000 % 60000;
	record->cpu = bpf_get_smp_processor_id();
	record->tgid = ids >> 32;
	record->pid = ids;
	if (cfg.typed_loads) {
		task = bpf_get_current_task() + bpf_core_field_offset(struct task_struct, comm);
		((__u64 *)record->comm)[0] = kw_load(task);
		((__u64 *)record->comm)[1] = kw_load(task + 8);
	} else {
		bpf_get_current_comm(record->comm, sizeof(record->comm));
	}
}

/* Send a record without waking anybody: the reader comes by on a timer. */
static __always_inline void kw_submit(const struct kw_event *event)
{
	__u64 used, size = cfg.output == KW_OUTPUT_BRIEF ? KW_BRIEF_BYTES : sizeof(*event);
	struct kw_counters *c;
	struct kw_event *record;

	if (cfg.output == KW_OUTPUT_BRIEF)
		record = bpf_ringbuf_reserve(&events, KW_BRIEF_BYTES, 0);
	else
		record = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (record) {
		record->node = event->node;
		record->stack_id = event->stack_id;
		record->flags = event->flags;
		record->other = event->other;
		if (cfg.output == KW_OUTPUT_EVENT)
			kw_fill(record);
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
		return;
	}
	c = kw_counters();
	if (!c)
		return;
	/* With room for the record, it was the lock (tried once only in an NMI). */
	used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	if (used + size + 8 < bpf_ringbuf_query(&events, BPF_RB_RING_SIZE))
		c->lost_ring_busy++;
	else
		c->lost_ring_full++;
}

#endif /* KWALK_EVENT_H */
