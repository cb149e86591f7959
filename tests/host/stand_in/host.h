/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * host.h: what the code of bpf/ sees of the test's process, in place of a kernel.
 *
 * There is no other memory here than the ranges that a test has registered as the kernel's, and no
 * other CPU than those it describes. Offsets come from the test as well, as on a real kernel CO-RE
 * finds them: each place in the code asks once for each layout.
 */
#ifndef HOST_H
#define HOST_H

#include "types.h"

#define HOST_STACK_FRAMES 128
#define HOST_CGROUPS	  8

/* A CPU while a program runs on it, as the test describes it. */
struct host_cpu {
	__u64 task;			/* struct task_struct in the kernel's memory */
	__u64 now;			/* bpf_ktime_get_ns(); each call adds ns */
	__u64 ns;			/* how long each look at the clock takes */
	__u64 random;			/* bpf_get_prandom_u32(): low half, rotated by each call */
	__u64 func_ip;			/* bpf_get_func_ip() */
	__u64 cookie;			/* bpf_get_attach_cookie() */
	__u64 own_frame;		/* R10 */
	__u64 cgroup;			/* bpf_get_current_cgroup_id() */
	__u64 cgroups[HOST_CGROUPS];	/* and its ancestors', from the root down */
	__u64 stack[HOST_STACK_FRAMES]; /* what the kernel's own unwinder finds */
	__s64 stacked;			/* frames in it, or an error */
	__u64 arguments;		/* bpf_get_func_arg_cnt() */
	__u64 tick;			/* loads, look-ups and atomic operations so far */
	__u64 pause; /* when tick gets here, host_set_pause()'s function is called */
	__u32 cpu;
	__u32 pid;
	__u32 tgid;
	__u32 netns;	   /* number of the inode; 0: the task is nearly gone */
	__u32 ring_locked; /* an NMI: the ring's lock is held */
	char comm[16];
};

enum host_question {
	HOST_OFFSET,
	HOST_EXISTS,
	HOST_TYPE_SIZE,
	HOST_TYPE_EXISTS,
	HOST_ENUM_VALUE,
	HOST_SHIFT,    /* of a bit field, as BPF_FIELD_RSHIFT_U64 */
	HOST_BITFIELD, /* shift of the lowest bit | bits << 8 */
};

/* A place in the code that asks for something about the kernel's types. */
struct host_site {
	int question;
	const char *about;
	__u32 layout; /* the one that answer is of */
	__s64 answer;
};

__s64 host_ask(struct host_site *site);
__u64 host_load_any(__u64 address);

#ifdef HOST_QUICK
/* For timing: a load is compared with one range first, about as dear as the JIT's guard. */
extern struct host_quick {
	__u64 start;
	__u64 size;
	const __u8 *memory;
} host_quick;

#define host_tick() ((void)0)

extern inline __attribute__((gnu_inline, always_inline)) void *bpf_rdonly_cast(const void *object,
									       __u32 type)
{
	return (void *)object;
}

static inline __attribute__((always_inline)) __u64 host_load(__u64 address)
{
	if (address - host_quick.start < host_quick.size)
		return *(const __u64 *)(host_quick.memory + (address - host_quick.start));
	return host_load_any(address);
}
#else
__u64 host_load(__u64 address);
#endif
void *host_own_frame(void);
extern __u64 host_barriers; /* full barriers so far */
#ifndef host_tick
void host_tick(void);
#endif

#define host_core(question, ...)                                                                   \
	({                                                                                         \
		static struct host_site site = {question, #__VA_ARGS__, 0, 0};                     \
		host_ask(&site);                                                                   \
	})

#endif /* HOST_H */
