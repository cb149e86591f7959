/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * key.bpf.h: keys, numbers that stand for a stack and a task as it is called in records of hits.
 *
 * The ring gets a key with its stack and task before the first hit that has it. Each CPU has
 * KW_KEYS of its own, which it gives in turn, and slots that remember the latest of them. The slots
 * are emptied before the first key is given again: no hit has a key by its earlier meaning.
 */
#ifndef KWALK_KEY_H
#define KWALK_KEY_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "trace/number.bpf.h"
#include "trace/ring.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct kw_slot {
	__u64 ids; /* tgid << 32 | pid */
	__u64 comm[2];
	__u32 node; /* with KW_SHORT_FLAGS */
	__u32 nth;  /* the key: this CPU's first is 1; 0: the slot is empty */
};

struct kw_slots {
	struct kw_slot slot[2];
};

/* The last element has the key given last. User space leaves one element if no keys are sent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KW_SLOTS + 1);
	__type(key, __u32);
	__type(value, struct kw_slots);
} keys SEC(".maps");

static __always_inline struct kw_slots *kw_slots_of(__u64 ids, __u32 node)
{
	__u32 at = ((ids << 32) + node) * 0x9e3779b97f4a7c15ULL >> 32 & (KW_SLOTS - 1);

	return bpf_map_lookup_elem(&keys, &at);
}

/* Number, from 0, of this CPU's nth key among the keys of all CPUs and levels. */
static __always_inline __u32 kw_key_number(__u32 nth)
{
	return (cfg.first_part + bpf_get_smp_processor_id()) * KW_KEYS + nth - 1;
}

/* Send a new key. Returns which of this CPU's it is, from 1; 0: the ring does not take it. */
__noinline __u32 kw_new_key(__u64 ids, __u64 comm, __u64 more, __u32 node)
{
	struct kw_slots *slots = kw_slots_of(ids, node), *own;
	__u32 last = KW_SLOTS, mark = KW_MARK_KEY, nth, i;
	struct kw_slot *slot;
	struct kw_key *record;

	own = bpf_map_lookup_elem(&keys, &last);
	if (!slots || !own)
		return 0; /* impossible: there are as many elements */
	slot = &slots->slot[slots->slot[1].nth < slots->slot[0].nth];
	nth = own->slot[0].nth + 1;
	if (nth > KW_KEYS)
		nth = 1;
	if (nth == 1) {
		mark |= KW_MARK_ANEW;
		for (i = 0; i < KW_SLOTS; i++) {
			last = i;
			slots = bpf_map_lookup_elem(&keys, &last);
			if (!slots)
				return 0; /* impossible */
			slots->slot[0].nth = slots->slot[1].nth = 0;
		}
	}
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record)
		return 0;
	record->key = kw_key_number(nth) | mark;
	record->node = node;
	record->tgid = ids >> 32;
	record->pid = ids;
	((__u64 *)record->comm)[0] = comm;
	((__u64 *)record->comm)[1] = more;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	own->slot[0].nth = nth;
	slot->ids = ids;
	slot->comm[0] = comm;
	slot->comm[1] = more;
	slot->node = node;
	slot->nth = nth;
	return nth;
}

static __always_inline bool kw_has(const struct kw_slot *slot, __u64 ids, const __u64 *comm,
				   __u32 node)
{
	return slot->node == node && slot->ids == ids && slot->comm[0] == comm[0] &&
	       slot->comm[1] == comm[1];
}

/*
 * Which of this CPU's keys, from 1, stands for a node, with KW_SHORT_FLAGS, and the current task as
 * it is called now; 0: the ring does not take it.
 */
static __always_inline __u32 kw_nth_key(__u32 node, __u32 output)
{
	__u64 ids, task, comm[2];
	struct kw_slots *slots;
	__u32 nth = 0;

	if (output == KW_OUTPUT_NUMBERED)
		ids = (__u64)kw_process_number() << 32 | kw_thread_number();
	else
		ids = bpf_get_current_pid_tgid();
	if (cfg.typed_loads) {
		task = bpf_get_current_task() + bpf_core_field_offset(struct task_struct, comm);
		comm[0] = kw_load(task);
		comm[1] = kw_load(task + 8);
	} else {
		bpf_get_current_comm(comm, sizeof(comm));
	}
	slots = kw_slots_of(ids, node);
	if (!slots)
		return 0; /* impossible: there are as many elements */
	if (kw_has(&slots->slot[0], ids, comm, node))
		nth = slots->slot[0].nth;
	else if (kw_has(&slots->slot[1], ids, comm, node))
		nth = slots->slot[1].nth;
	return nth ?: kw_new_key(ids, comm[0], comm[1], node);
}

#endif /* KWALK_KEY_H */
