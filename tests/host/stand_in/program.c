// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * program.c: all of bpf/, to be loaded into a test's process, and what the test has to know of it.
 */
#include "kwalk.h"

/* Those that user space maps are pages of their own. */
extern struct kw_gate gates[KW_CPUS] __attribute__((aligned(4096)));
extern __u64 processes[KW_TASKS / 64] __attribute__((aligned(4096)));
extern __u64 threads[KW_TASKS / 64] __attribute__((aligned(4096)));

#include "kwalk.bpf.c"

#include "maps.h"
#include "planting.h"

#define HOST_WORDS(member) (sizeof(*(member)) / sizeof(int))

/* As libbpf reads a definition: sizes are given as such, or by a type. */
#define HOST_SIZED(name)                                                                           \
	{#name,                                                                                    \
	 &name,                                                                                    \
	 HOST_WORDS(name.type),                                                                    \
	 HOST_WORDS(name.key_size),                                                                \
	 HOST_WORDS(name.value_size),                                                              \
	 HOST_WORDS(name.max_entries),                                                             \
	 0,                                                                                        \
	 0}
#define HOST_TYPED(name)                                                                           \
	{#name,                                                                                    \
	 &name,                                                                                    \
	 HOST_WORDS(name.type),                                                                    \
	 sizeof(*name.key),                                                                        \
	 sizeof(*name.value),                                                                      \
	 HOST_WORDS(name.max_entries),                                                             \
	 0,                                                                                        \
	 0}

struct host_map host_maps[] = {
    HOST_SIZED(tree),
    HOST_SIZED(buckets),
    HOST_TYPED(nodes_used),
    HOST_SIZED(weights),
    HOST_TYPED(counters),
    HOST_TYPED(keys),
    HOST_TYPED(scratch),
    HOST_SIZED(stacks_a),
    HOST_SIZED(stacks_b),
    HOST_TYPED(counted),
    HOST_SIZED(calls),
    HOST_SIZED(leaves),
    {"events", &events, HOST_WORDS(events.type), 0, 0, HOST_WORDS(events.max_entries), 0, 0},
    {0},
};

const struct host_symbol host_symbols[] = {
    {"cfg", (void *)&cfg, sizeof(cfg)},
    {"control", &control, sizeof(control)},
    {"digits", (void *)digits, sizeof(digits)},
    {"gates", gates, sizeof(gates)},
    {"processes", processes, sizeof(processes)},
    {"threads", threads, sizeof(threads)},
    {"places", &places, sizeof(places)},
    {"actives", actives, sizeof(actives)},
    {0},
};

/* A program's context is a pointer, whatever it points to. */
#define HOST_PROGRAM(name) {#name, (int (*)(void *))(void *)name}

/* clang-format off */
const struct host_program host_programs[] = {
    HOST_PROGRAM(kw_kprobe),
    HOST_PROGRAM(kw_multi),
    HOST_PROGRAM(kw_fentry),
    HOST_PROGRAM(kw_fexit),
    HOST_PROGRAM(kw_raw_tp),
    HOST_PROGRAM(kw_tp),
    HOST_PROGRAM(kw_sample),
    HOST_PROGRAM(kw_fork),
    HOST_PROGRAM(kw_free),
    HOST_PROGRAM(kw_here),
    HOST_PROGRAM(kw_tasks),
    HOST_PROGRAM(kw_facts),
    HOST_PROGRAM(kw_calls),
    HOST_PROGRAM(host_child),
    HOST_PROGRAM(host_take),
    HOST_PROGRAM(host_group),
    HOST_PROGRAM(host_kernels),
    HOST_PROGRAM(host_deliver),
    HOST_PROGRAM(host_count),
    HOST_PROGRAM(kw_kprobe_hot),
    HOST_PROGRAM(kw_fentry_hot),
    HOST_PROGRAM(kw_code),
    HOST_PROGRAM(kw_fentry_nested),
    HOST_PROGRAM(kw_fentry_multi),
    HOST_PROGRAM(kw_fexit_multi),
    HOST_PROGRAM(kw_multi_beside),
    HOST_PROGRAM(kw_actives),
    {0},
};
/* clang-format on */

/* With the members that bpf/ reads directly; CO-RE has no part in these. */
static __thread struct {
	struct task_struct task;
	struct nsproxy nsproxy;
	struct net net;
} current_task;

struct task_struct *bpf_get_current_task_btf(void)
{
	const struct host_cpu *cpu = host_here();
	__u32 i;

	current_task.task.pid = cpu->pid;
	current_task.task.tgid = cpu->tgid;
	for (i = 0; i < sizeof(cpu->comm); i++)
		current_task.task.comm[i] = cpu->comm[i];
	/* What is read by way of a null pointer is 0 in BPF. */
	current_task.task.nsproxy = &current_task.nsproxy;
	current_task.nsproxy.net_ns = &current_task.net;
	current_task.net.ns.inum = cpu->netns;
	return &current_task.task;
}

/* What kw_fork, kw_free and kw_tasks are given. */
void host_task(struct task_struct *task, int pid, int tgid)
{
	task->pid = pid;
	task->tgid = tgid;
}

int host_task_bytes(void)
{
	return sizeof(struct task_struct);
}
