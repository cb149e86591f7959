/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * event.bpf.h: records of hits, and the time of day in them.
 */
#ifndef KWALK_EVENT_H
#define KWALK_EVENT_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include "cct/tree.bpf.h"
#include "trace/key.bpf.h"
#include "trace/number.bpf.h"
#include "trace/ring.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_SECOND 1000000000ULL

/* Numbers below 1000 as text: three digits, the first in the lowest byte. */
const volatile __u32 digits[KW_DIGITS] SEC(".rodata.digits") = {};

static __always_inline __u32 kw_digits(__u64 number)
{
	barrier_var(number); /* keeps the mask: the verifier does not track bounds of % */
	return digits[number & (KW_DIGITS - 1)];
}

/* Write the text of a new second of the local clock. Returns the nanoseconds into it. */
static __always_inline __u64 kw_begin_second(struct kw_cpu *cpu, __u64 now)
{
	__u64 local = now + cfg.midnight_ns, second = local / KW_SECOND, over = local % KW_SECOND;
	__u32 of_day = second % 86400;
	__u32 hours = kw_digits(of_day / 3600) >> 8, minutes = kw_digits(of_day / 60 % 60) >> 8;
	__u32 seconds = kw_digits(of_day % 60) >> 8;

	cpu->second = now - over;
	cpu->clock[0] = hours | ':' << 16 | minutes << 24;
	cpu->clock[1] = minutes >> 8 | ':' << 8 | seconds << 16;
	return over;
}

/* Write the time of day as text, which costs far less here than in Python. */
static __always_inline void kw_fill_clock(char *text, struct kw_cpu *cpu, __u64 now)
{
	__u32 *clock = (__u32 *)text, us, ms;
	__u64 over = now - cpu->second;

	if (over >= KW_SECOND || !cpu->clock[0])
		over = kw_begin_second(cpu, now);
	us = (__u32)over / 1000;
	ms = us / 1000;
	clock[0] = cpu->clock[0];
	clock[1] = cpu->clock[1];
	clock[2] = '.' | kw_digits(ms) << 8;
	clock[3] = kw_digits(us - ms * 1000) | (__u32)' ' << 24;
}

/* Write the time and the current task. */
static __always_inline void kw_fill(struct kw_event *record, struct kw_cpu *cpu, __u32 output)
{
	__u64 now = bpf_ktime_get_ns(), ids, task;

	record->time_ns = now;
	kw_fill_clock(record->clock, cpu, now);
	if (output == KW_OUTPUT_NUMBERED) {
		record->tgid = kw_process_number();
		record->pid = kw_thread_number();
	} else {
		ids = bpf_get_current_pid_tgid();
		record->tgid = ids >> 32;
		record->pid = ids;
	}
	if (cfg.typed_loads) {
		task = bpf_get_current_task() + bpf_core_field_offset(struct task_struct, comm);
		((__u64 *)record->comm)[0] = kw_load(task);
		((__u64 *)record->comm)[1] = kw_load(task + 8);
	} else {
		bpf_get_current_comm(record->comm, sizeof(record->comm));
	}
}

/* Send a hit of the manual method. Returns false if the ring does not take all of it. */
static __always_inline bool kw_submit_short(const struct kw_event *event, struct kw_cpu *cpu,
					    __u32 output)
{
	const __u32 node = event->node | (event->flags & KW_SHORT_FLAGS);
	struct kw_difference *difference;
	__u32 nth = kw_nth_key(node, output);
	struct kw_short *record;

	if (!nth)
		return false;
	if (event->flags & KW_EV_DIFFERS) {
		difference = bpf_ringbuf_reserve(&events, sizeof(*difference), 0);
		if (!difference)
			return false;
		difference->mark = KW_MARK_DIFFERENCE;
		difference->node = node;
		difference->other = event->other;
		bpf_ringbuf_submit(difference, BPF_RB_NO_WAKEUP);
	}
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record)
		return false;
	record->key = kw_key_number(nth);
	record->time_ns = bpf_ktime_get_ns();
	kw_fill_clock(record->clock, cpu, record->time_ns);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return true;
}

/* Send a record without waking the reader, which polls on a timer. */
static __always_inline void kw_submit(const struct kw_event *event, void *nodes)
{
	const __u32 output = cfg.output;
	struct kw_event *record;

	if (output != KW_OUTPUT_BRIEF && cfg.method == KW_MANUAL) {
		if (!kw_submit_short(event, kw_cpu_at(nodes, kw_cpu_offset()), output))
			kw_count_refused(sizeof(struct kw_short));
		return;
	}
	if (output == KW_OUTPUT_BRIEF)
		record = bpf_ringbuf_reserve(&events, KW_BRIEF_BYTES, 0);
	else
		record = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!record) {
		kw_count_refused(output == KW_OUTPUT_BRIEF ? KW_BRIEF_BYTES : sizeof(*event));
		return;
	}
	record->node = event->node;
	record->stack_id = event->stack_id;
	record->flags = event->flags;
	record->cpu = bpf_get_smp_processor_id();
	record->other = event->other;
	if (output != KW_OUTPUT_BRIEF)
		kw_fill(record, kw_cpu_at(nodes, kw_cpu_offset()), output);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif /* KWALK_EVENT_H */
