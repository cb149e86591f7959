/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* As libbpf's header of this name; the helpers are those of helpers.c. */
#ifndef HOST_BPF_HELPERS_H
#define HOST_BPF_HELPERS_H

#include "../host.h"

struct task_struct;
struct seq_file;

#define SEC(name)	__attribute__((used))
#define __always_inline __attribute__((unused)) /* functions of their own are counted by gcov */
#define __noinline	__attribute__((noinline))
#define __weak		__attribute__((weak))
#define __ksym

#define __uint(name, value)  int(*name)[value]
#define __type(name, value)  __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

/* Atomic operations that return the old value; they are barriers if they store. */
#define __sync_fetch_and_add(at, value)                                                            \
	(host_tick(), host_barriers++, __sync_fetch_and_add(at, value))
#define __sync_lock_test_and_set(at, value)                                                        \
	(host_tick(), host_barriers++, __sync_lock_test_and_set(at, value))
#define __sync_val_compare_and_swap(at, old, new)                                                  \
	({                                                                                         \
		__typeof__(*(at)) found;                                                           \
                                                                                                   \
		host_tick();                                                                       \
		found = __sync_val_compare_and_swap(at, old, new);                                 \
		host_barriers += found == (old);                                                   \
		found;                                                                             \
	})

void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags);
long bpf_probe_read_kernel(void *to, __u32 size, const void *address);
long bpf_loop(__u32 times, void *function, void *context, __u64 flags);
long bpf_get_stackid(void *ctx, void *map, __u64 flags);
long bpf_get_stack(void *ctx, void *to, __u32 size, __u64 flags);
__u64 bpf_ktime_get_ns(void);
__u32 bpf_get_prandom_u32(void);
__u32 bpf_get_smp_processor_id(void);
__u64 bpf_get_current_task(void);
struct task_struct *bpf_get_current_task_btf(void);
__u64 bpf_get_current_pid_tgid(void);
long bpf_get_current_comm(void *to, __u32 size);
__u64 bpf_get_current_cgroup_id(void);
__u64 bpf_get_current_ancestor_cgroup_id(int level);
__u64 bpf_get_func_ip(void *ctx);
__u64 bpf_get_attach_cookie(void *ctx);
long bpf_get_func_arg_cnt(void *ctx);
void *bpf_ringbuf_reserve(void *ring, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *record, __u64 flags);
__u64 bpf_ringbuf_query(void *ring, __u64 what);
int host_tail_call(void *ctx, __u32 slot, int *result);
long bpf_seq_write(struct seq_file *seq, const void *data, __u32 size);

#endif /* HOST_BPF_HELPERS_H */
