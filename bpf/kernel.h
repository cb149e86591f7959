/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * kernel.h: the kernel types that kwalk reads, kept by hand.
 *
 * They have the members that are used; CO-RE finds their offsets in the running kernel.
 */
#ifndef KWALK_KERNEL_H
#define KWALK_KERNEL_H

#include "types.h"
#include "arch/arch.h"
#include KW_ARCH_KERNEL

#define EFAULT 14
#define ENOMEM 12
#define EBUSY  16
#define EEXIST 17

enum bpf_map_type {
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

struct seq_file;

#define BPF_ANY		  0
#define BPF_F_MMAPABLE	  (1U << 10)
#define BPF_RB_NO_WAKEUP  (1ULL << 0)
#define BPF_RB_AVAIL_DATA 0
#define BPF_RB_RING_SIZE  1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/perf_event.h */
struct bpf_perf_event_data_kern {
	struct pt_regs *regs;
};

/* include/uapi/linux/bpf.h; "missed" since 6.7 */
struct bpf_link_info {
	struct {
		union {
			struct {
				__u64 missed;
			} kprobe;
		};
	} perf_event;
};

/* include/linux/rbtree_types.h, include/linux/rbtree_latch.h */
struct rb_node {
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct latch_tree_node {
	struct rb_node node[2];
};

struct latch_tree_root {
	struct {
		unsigned int sequence;
	} seq;
	struct rb_root tree[2];
};

/* include/linux/module.h; ac3b43283923 "module: replace module_layout with module_memory" (6.4) */
struct mod_tree_node {
	struct module *mod;
	struct latch_tree_node node;
};

enum mod_mem_type {
	MOD_TEXT = 0,
	MOD_INIT_TEXT = 4,
};

struct module_memory {
	void *base;
	unsigned int size;
	struct mod_tree_node mtn;
};

struct module_layout {
	void *base;
	unsigned int size;
	unsigned int text_size;
	struct mod_tree_node mtn;
};

/* include/linux/kernfs.h, include/linux/kobject.h */
struct kernfs_node {
	__u64 id;
};

struct kobject {
	struct kernfs_node *sd;
};

struct module_kobject {
	struct kobject kobj;
};

struct module {
	struct module_kobject mkobj;
	struct module_memory mem[2];
	struct module_layout core_layout; /* before 6.4 */
	struct mod_arch_specific arch;
};

/* include/linux/bpf.h */
struct bpf_ksym {
	unsigned long start;
	unsigned long end;
	char name[64]; /* longer in the kernel, padded with zeros */
	struct latch_tree_node tnode;
};

/* include/linux/ftrace.h; "idx" since 6.11, when the shadow stack became an array of words */
struct ftrace_ops {
	struct ftrace_ops *next;
	unsigned long flags;
	unsigned long trampoline;
	unsigned long trampoline_size;
};

struct dyn_ftrace {
	unsigned long ip;
};

/* kernel/trace/ftrace.c */
struct ftrace_page {
	struct ftrace_page *next;
	struct dyn_ftrace *records;
	int index;
};

struct ftrace_ret_stack {
	unsigned long ret;
	unsigned long *retp;
};

struct fgraph_ops {
	int idx;
};

/* include/linux/kprobes.h, kernel/kprobes.c */
struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct kprobe_insn_cache {
	struct list_head pages;
};

struct kprobe_insn_page {
	struct list_head list;
	void *insns;
};

/* include/linux/types.h */
struct hlist_node {
	struct hlist_node *next, **pprev;
};

/* include/linux/rethook.h */
struct llist_node {
	struct llist_node *next;
};

struct llist_head {
	struct llist_node *first;
};

struct rethook_node {
	struct llist_node llist;
	unsigned long ret_addr;
	unsigned long frame;
};

/* include/linux/kprobes.h, without CONFIG_KRETPROBE_ON_RETHOOK */
struct kretprobe_instance {
	struct llist_node llist;
	void *ret_addr;
	void *fp;
};

/* include/linux/vmalloc.h */
struct vm_struct {
	unsigned int nr_pages;
};

/* include/linux/ns_common.h, include/net/net_namespace.h, include/linux/nsproxy.h */
struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct net *net_ns;
};

/* include/linux/pid.h, include/linux/pid_namespace.h */
struct pid_namespace;

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* include/linux/cgroup-defs.h */
struct cgroup {
	int level;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* include/linux/sched.h */
struct task_struct {
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	void *stack;
	struct vm_struct *stack_vm_area;
	unsigned long nivcsw;
	char comm[16];
	int curr_ret_stack;
	void *ret_stack;
	struct llist_head rethooks;
	struct llist_head kretprobe_instances;
};

/* include/linux/bpf.h, include/linux/filter.h */
struct bpf_prog_aux {
	unsigned int id;
};

struct bpf_prog {
	int *active; /* int __percpu * */
	struct bpf_prog_aux *aux;
};

/* include/linux/bpf.h, kernel/bpf/task_iter.c, kernel/bpf/prog_iter.c */
struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_prog {
	struct bpf_iter_meta *meta;
	struct bpf_prog *prog;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif /* KWALK_KERNEL_H */
