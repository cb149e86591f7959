/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * event.bpf.h: the maps, the ledger's counters, and the ring.
 */
#ifndef KWALK_EVENT_H
#define KWALK_EVENT_H

/* Sizes of ring and stack maps are set by user space before loading. */
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

/*
 * One record in the making per CPU: too large for the BPF stack. A program never
 * runs twice at once on a CPU (the kernel counts the second entry as a recursion
 * miss), so the buffer is its own.
 */
struct kw_record {
	struct kw_event event;
	__u64 frames[KW_MAX_FRAMES + 1];
};

struct kw_scratch {
	__u64 ctx;
	struct kw_record walk;
	struct kw_record kernel; /* the kernel's own answer, where it was asked */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kw_scratch);
} scratch SEC(".maps");

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

static __always_inline __u64 kw_record_size(const struct kw_event *event)
{
	__u64 frames = event->nr;

	asm volatile("" : "+r"(frames)); /* one register for the check and the use */
	if (frames > KW_MAX_FRAMES)
		frames = KW_MAX_FRAMES;
	return sizeof(*event) + frames * sizeof(__u64);
}

/* Send the record without waking anybody: the reader comes by on a timer. */
static __always_inline void kw_submit(struct kw_counters *c, struct kw_event *event)
{
	__u64 used, size = kw_record_size(event);

	if (bpf_ringbuf_output(&events, event, size, BPF_RB_NO_WAKEUP) == 0) {
		c->recorded++;
		if (event->flags & KW_EV_TRUNCATED)
			c->truncated++;
		if (event->flags & KW_EV_FALLBACK)
			c->fallback++;
		return;
	}
	/* With room for the record, it was the lock (tried once only in an NMI). */
	used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	if (used + size + 8 < bpf_ringbuf_query(&events, BPF_RB_RING_SIZE))
		c->lost_ring_busy++;
	else
		c->lost_ring_full++;
}

/* Send what the other method made of an event that was just sent; no event of its own. */
static __always_inline void kw_submit_other(struct kw_event *event)
{
	event->flags |= KW_EV_OTHER;
	bpf_ringbuf_output(&events, event, kw_record_size(event), BPF_RB_NO_WAKEUP);
}

#endif /* KWALK_EVENT_H */
