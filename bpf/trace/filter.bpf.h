/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * filter.bpf.h: filters of hits, by CPU, process, thread, comm, network namespace and cgroup.
 *
 * Filters test the current task and CPU. In softirqs and interrupts that is the interrupted task.
 * Filtered hits are counted per CPU. PIDs belong to the initial namespace.
 */
#ifndef KWALK_FILTER_H
#define KWALK_FILTER_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include <bpf/bpf_helpers.h>

/*
 * Bit maps of wanted processes and threads, per-CPU state, and values. Global data, which programs
 * address without a lookup: a hit is filtered before anything else happens.
 */
__u64 processes[KW_TASKS / 64] SEC(".bss.processes");
__u64 threads[KW_TASKS / 64] SEC(".bss.threads");
struct kw_gate gates[KW_CPUS] SEC(".bss.gates");
struct kw_places places SEC(".bss.places");

static __always_inline __u64 *kw_task_word(__u64 *set, __u32 number)
{
	return set + number % KW_TASKS / 64;
}

static __always_inline bool kw_in_set(__u64 *set, __u32 number)
{
	return *(volatile __u64 *)kw_task_word(set, number) >> (number & 63) & 1;
}

static __always_inline bool kw_is_named(const struct task_struct *task)
{
	const __u64 *comm = (const __u64 *)task->comm;
	__u64 low = comm[0];
	__u32 i;

#pragma unroll
	for (i = 0; i < KW_FILTER_VALUES; i++) {
		if (i >= cfg.comms)
			return false;
		/* The second word is rarely loaded. */
		if (low == cfg.comm[2 * i] &&
		    *(const volatile __u64 *)(comm + 1) == cfg.comm[2 * i + 1])
			return true;
	}
	return false;
}

static __always_inline bool kw_in_netns(const struct task_struct *task)
{
	__u32 inum = task->nsproxy->net_ns->ns.inum, i; /* 0 for a task that is nearly gone */
	const volatile __u32 *netns = places.netns;

	/* There is one at least. */
#pragma unroll
	for (i = 0; i < KW_FILTER_VALUES; i++) {
		if (i && i >= cfg.netnses)
			return false;
		if (inum == netns[i])
			return true;
	}
	return false;
}

/* Whether the current task is in a wanted cgroup or below one. */
static __always_inline bool kw_in_cgroup(void)
{
	const volatile __u64 *cgroup = places.cgroup;
	__u32 i;

	/* There is one at least. */
#pragma unroll
	for (i = 0; i < KW_FILTER_VALUES; i++) {
		if (i && i >= cfg.cgroups)
			return false;
		if (bpf_get_current_ancestor_cgroup_id(cfg.cgroup_level[i]) == cgroup[i])
			return true;
	}
	return false;
}

static __always_inline struct kw_gate *kw_gate(void)
{
	return &gates[bpf_get_smp_processor_id() % KW_CPUS];
}

/* Whether a hit passes. cfg is constant to the verifier, which removes unused kinds as dead code.
 */
static __always_inline bool kw_is_wanted(const __u32 filter)
{
	const struct task_struct *task;

	/* A single kind, without tests for the others. */
	if (filter == KW_FILTER_CGROUP)
		return kw_in_cgroup();
	if (filter == KW_FILTER_NETNS)
		return kw_in_netns(bpf_get_current_task_btf());
	if (filter == KW_FILTER_PROCESS)
		return kw_in_set(processes, bpf_get_current_task_btf()->tgid);
	if (filter == KW_FILTER_THREAD)
		return kw_in_set(threads, bpf_get_current_task_btf()->pid);
	if (filter == KW_FILTER_COMM)
		return kw_is_named(bpf_get_current_task_btf());
	if (filter & KW_FILTER_CPU && *(volatile __u64 *)&kw_gate()->closed)
		return false;
	if (!(filter & ~KW_FILTER_CPU))
		return true;
	task = bpf_get_current_task_btf();
	if (filter & KW_FILTER_PROCESS && !kw_in_set(processes, task->tgid))
		return false;
	if (filter & KW_FILTER_THREAD && !kw_in_set(threads, task->pid))
		return false;
	if (filter & KW_FILTER_COMM && !kw_is_named(task))
		return false;
	if (filter & KW_FILTER_NETNS && !kw_in_netns(task))
		return false;
	return !(filter & KW_FILTER_CGROUP) || kw_in_cgroup();
}

/* Whether to filter this hit; then it is counted. */
static __always_inline bool kw_filtered(void)
{
	const __u32 filter = cfg.filter;

	if (!filter || kw_is_wanted(filter))
		return false;
	kw_gate()->filtered++;
	return true;
}

/* --follow: children of wanted processes are wanted. */
SEC("tp_btf/sched_process_fork")
int kw_fork(__u64 *ctx)
{
	const struct task_struct *parent = (const void *)ctx[0], *child = (const void *)ctx[1];
	int number = child->tgid;

	if (number != parent->tgid && kw_in_set(processes, parent->tgid))
		__sync_fetch_and_or(kw_task_word(processes, number), 1ULL << (number & 63));
	return 0;
}

/* Forget a PID when it can be reused; until then a dying process still closes its files. */
SEC("tp_btf/sched_process_free")
int kw_free(__u64 *ctx)
{
	const struct task_struct *task = (const void *)ctx[0];
	int number = task->tgid;

	if (task->pid == number && kw_in_set(processes, number))
		__sync_fetch_and_and(kw_task_word(processes, number), ~(1ULL << (number & 63)));
	return 0;
}

#endif /* KWALK_FILTER_H */
