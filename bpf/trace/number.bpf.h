/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * number.bpf.h: PIDs in the user's PID namespace, if that is not the initial one.
 */
#ifndef KWALK_NUMBER_H
#define KWALK_NUMBER_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

static __always_inline __u64 kw_upid(__u64 pid, __u32 level)
{
	return pid + bpf_core_field_offset(struct pid, numbers) +
	       level * bpf_core_type_size(struct upid);
}

/* PID of a struct pid in cfg.pidns, or KW_NO_NUMBER; pid is 0 for a task that was reaped. */
static __always_inline __u32 kw_number_of(__u64 pid)
{
	const __u32 level = cfg.pidns_level;
	__u64 upid = kw_upid(pid, level);

	if ((__u32)kw_load_field(pid, struct pid, level) < level ||
	    kw_load_field(upid, struct upid, ns) != cfg.pidns)
		return KW_NO_NUMBER;
	return kw_load_field(upid, struct upid, nr);
}

static __always_inline __u32 kw_thread_number(void)
{
	__u64 task = bpf_get_current_task();

	return kw_number_of(kw_load_field(task, struct task_struct, thread_pid));
}

static __always_inline __u32 kw_process_number(void)
{
	__u64 task = bpf_get_current_task();
	__u64 leader = kw_load_field(task, struct task_struct, group_leader);

	return kw_number_of(kw_load_field(leader, struct task_struct, thread_pid));
}

/* Report namespaces and cgroup of the caller; user space runs it once, before attaching. */
SEC("syscall")
int kw_here(struct kw_here *here)
{
	__u64 task = bpf_get_current_task();
	__u64 pid = kw_load_field(task, struct task_struct, thread_pid);
	__u64 set = kw_load_field(task, struct task_struct, cgroups);
	__u64 cgroup = kw_load_field(set, struct css_set, dfl_cgrp);
	__u32 level = kw_load_field(pid, struct pid, level);

	here->pidns_level = level;
	here->pidns = kw_load_field(kw_upid(pid, level), struct upid, ns);
	here->cgroup_level = kw_load_field(cgroup, struct cgroup, level);
	return 0;
}

/* Iterate over tasks in the reader's PID namespace: bpf_iter_init_seq_pidns(). */
SEC("iter/task")
int kw_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct kw_task found = {};
	__u64 own, pid;

	if (!task)
		return 0; /* the end */
	own = kw_load_field(bpf_get_current_task(), struct task_struct, thread_pid);
	pid = kw_load_field((__u64)task, struct task_struct, thread_pid);
	own = kw_load_field(own, struct pid, level);
	found.number = kw_load_field(kw_upid(pid, (__u32)own), struct upid, nr);
	found.pid = task->pid;
	found.tgid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

#endif /* KWALK_NUMBER_H */
