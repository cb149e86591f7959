/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * kwalk.h: everything that the BPF programs and user space share.
 *
 * The Python mirror is src/kwalk/transport/abi.py; a test compares the two
 * through the object's BTF. Fixed-width types only.
 */
#ifndef KWALK_H
#define KWALK_H

#define KW_MAX_FRAMES	127 /* as many as the kernel's perf_event_max_stack */
#define KW_COMM_LEN	16
#define KW_MEMO_BITS	13
#define KW_ORC_HASH_LEN 20

enum kw_method {
	KW_HELPER = 1, /* bpf_get_stackid() */
	KW_MANUAL = 2, /* the walk in this object */
	KW_BOTH = 3,   /* both on the same event, to be compared */
};

enum kw_unwinder {
	KW_UNWIND_NONE = 0,
	KW_UNWIND_FP = 1,
	KW_UNWIND_ORC = 2,
};

/* Set by user space before the programs are loaded; constants to the verifier. */
struct kw_config {
	__u64 func;	  /* address of the traced function's first instruction */
	__u64 text_start; /* _stext */
	__u64 text_end;	  /* _etext */
	__u64 orc_ip;	  /* __start_orc_unwind_ip */
	__u64 orc;	  /* __start_orc_unwind */
	__u64 orc_lookup; /* orc_lookup: first entry of every 256-byte block of text */
	__u64 rethook;	  /* trampolines that replace return addresses; 0 where absent */
	__u64 graph_return;
	__u64 modules;	   /* the list of modules; 0 where it can't be found */
	__u32 orc_lookups; /* entries in orc_lookup */
	__u32 orc_entries; /* entries in orc_ip and orc */
	__u32 method;	   /* enum kw_method */
	__u32 typed_loads; /* the kernel has bpf_rdonly_cast() */
	__u32 max_frames;  /* 2..KW_MAX_FRAMES: deeper stacks are cut and marked */
	__u32 reserved;
};

/* Written by user space while programs run (active_map), or before they are attached. */
struct kw_control {
	__u32 active_map; /* 0: stacks_a, 1: stacks_b */
	/*
	 * Register numbers of orc_entry. Those from 7.1 on (SP=3, BP=4...) differ from
	 * those before (SP=5, BP=4...), and BTF does not show it; user space tells by
	 * decoding orc_fp_entry and null_orc_entry, whose meaning is known.
	 */
	__u32 orc_reg_sp;
	__u32 orc_reg_prev_sp;
	__u32 orc_last; /* the last entry of vmlinux's tables */
};

#define KW_EV_TRUNCATED (1 << 0) /* the stack goes on below the last frame */
#define KW_EV_FALLBACK	(1 << 1) /* frames come from the kernel's own unwinder */
#define KW_EV_MAP	(1 << 2) /* stack_id belongs to the second stack map */
#define KW_EV_NO_ID	(1 << 3) /* KW_BOTH: the helper lost this stack */

/* One record in the ring; nr frames follow it, FUNC first. */
struct kw_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 caller;  /* return address of FUNC, as read from the stack pointer */
	__u32 tgid;
	__u32 pid;
	__u32 cpu;
	__s32 stack_id; /* helper: key of the stack map */
	__u16 nr;
	__u16 flags;
	__u32 reserved;
	char comm[KW_COMM_LEN];
};

/* What became of every hit, per CPU. hits = recorded + everything lost_*. */
struct kw_counters {
	__u64 hits;
	__u64 recorded;
	__u64 truncated;
	__u64 fallback;
	__u64 lost_ring_full;
	__u64 lost_ring_busy; /* the ring's lock was held, in an NMI */
	__u64 lost_eexist;    /* another stack sits in the bucket */
	__u64 lost_enomem;    /* the stack map is full */
	__u64 lost_efault;    /* the kernel's unwinder returned nothing */
	__u64 lost_ebusy;
	__u64 lost_other;
};

/* In and out of the kw_facts program, which is run once before attaching. */
struct kw_facts {
	__u64 orc_fp_entry; /* in: addresses, 0 where absent */
	__u64 orc_null_entry;
	__u64 orc_header;
	__u64 fp_entry; /* out: the first 8 bytes at each */
	__u64 null_entry;
	__u8 header[KW_ORC_HASH_LEN];
	__u32 unwinder;	     /* enum kw_unwinder */
	__u32 counts_missed; /* this kernel counts the misses of kprobes (6.7) */
	__u32 reserved;
};

_Static_assert(sizeof(struct kw_event) == 56, "frames follow, aligned to 8");

#endif /* KWALK_H */
