/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * kwalk.h: everything that the BPF programs and user space share.
 *
 * The Python mirror is src/kwalk/abi.py; a test compares the two
 * through the object's BTF. Fixed-width types only.
 */
#ifndef KWALK_H
#define KWALK_H

#include "types.h"

#define KW_MAX_FRAMES	127 /* as many as the kernel's perf_event_max_stack */
#define KW_COMM_LEN	16
#define KW_CLOCK_LEN	16
#define KW_DIGITS	1024 /* numbers in a table, a power of two */
#define KW_ORC_HASH_LEN 20
#define KW_CODE_BYTES	16

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

/* Where in FUNC the probe is. */
enum kw_place {
	KW_PLACE_ENTRY = 0,
	KW_PLACE_INSIDE = 1, /* a kprobe at FUNC + offset */
	KW_PLACE_RETURN = 2, /* kretprobe or fexit */
	/* In no function of the user's choice; the root is no frame: */
	KW_PLACE_TRACEPOINT = 3,
	KW_PLACE_SAMPLE = 4, /* where a perf event interrupted */
};

/* KW_PLACE_INSIDE with frame pointers: how far the prologue has run where the kprobe is. */
enum kw_start {
	KW_START_UNKNOWN = 0,
	KW_START_BARE = 1,   /* SP points at the return address */
	KW_START_PUSHED = 2, /* BP has been pushed on top of it */
	KW_START_FRAME = 3,  /* and BP points there */
};

/* What becomes of a stack. */
enum kw_output {
	KW_OUTPUT_COUNT = 0,	/* it is counted where it ends in the tree */
	KW_OUTPUT_EVENT = 1,	/* a record of each hit, struct kw_event */
	KW_OUTPUT_BRIEF = 2,	/* its first KW_BRIEF_BYTES only: which stack it was */
	KW_OUTPUT_NUMBERED = 3, /* as EVENT, numbers of tasks as in cfg.pidns */
};

/* What is asked about a call; all of these must hold. */
#define KW_FILTER_CPU	  (1 << 0)
#define KW_FILTER_PROCESS (1 << 1)
#define KW_FILTER_THREAD  (1 << 2)
#define KW_FILTER_COMM	  (1 << 3)
#define KW_FILTER_NETNS	  (1 << 4)
#define KW_FILTER_CGROUP  (1 << 5)
#define KW_FILTER_VALUES  4 /* most names, namespaces, cgroups: any of them will do */

#define KW_CPUS	 8192	   /* most that x86 kernels are built for, a power of two */
#define KW_TASKS (1 << 22) /* numbers of tasks are below it (PID_MAX_LIMIT) */

/* With filters: of a CPU. A cache line, since the CPU writes it. */
struct kw_gate {
	__u64 filtered; /* hits that were refused */
	__u64 closed;	/* written by user space: all are to be */
	__u64 reserved[6];
};

/* What the events of a stack are told apart by, too. */
enum kw_per {
	KW_PER_NOTHING = 0,
	KW_PER_PID = 1, /* the process; its first name is kept */
	KW_PER_COMM = 2,
	KW_PER_CPU = 3,
	KW_PER_CGROUP = 4,
	KW_PER_NUMBER = 5, /* as PID, by its number in cfg.pidns */
};

/* Above all numbers of tasks: a task that has none in cfg.pidns. */
#define KW_NO_NUMBER 0xffffffU
/* In the bits of a group without a number, and, behind its name, in value[1]. */
#define KW_NUMBERLESS	   0x800000U
#define KW_NUMBERLESS_NAME (1ULL << 63)

/* Network namespaces and cgroups of filters. User space writes them again when they change. */
struct kw_places {
	__u64 cgroup[KW_FILTER_VALUES]; /* numbers of cgroups, at cfg.cgroup_level below the root */
	__u32 netns[KW_FILTER_VALUES];	/* numbers of inodes */
};

#define KW_ENTRY_BYTES 16 /* endbr, padding and the call of a tracer lie in these first bytes */

/* Set by user space before the programs are loaded; constants to the verifier. */
struct kw_config {
	__u64 func; /* address of the traced instruction: FUNC, or FUNC + offset; or 0: many */
	__u64 text_start; /* _stext */
	__u64 text_end;	  /* _etext */
	__u64 init_start; /* _sinittext */
	__u64 init_end;	  /* _einittext */
	__u64 image_end;  /* _end */
	__u64 orc_ip;	  /* __start_orc_unwind_ip */
	__u64 orc;	  /* __start_orc_unwind */
	__u64 orc_lookup; /* orc_lookup: first entry of every 256-byte block of text */
	__u64 rethook;	  /* trampolines that replace return addresses; 0 where absent */
	__u64 graph_return;
	__u64 hook_first; /* the lower of the two; the other is hook_span bytes on */
	__u64 hook_span;
	__u64 mod_tree; /* latch_tree_root of modules and of BPF programs; 0 if unknown */
	__u64 bpf_tree;
	__u64 ftrace_ops_list; /* address of the pointer to the first ftrace_ops; 0 if unknown */
	__u64 ftrace_list_end;
	__u64 ftrace_caller; /* what ftrace's trampolines are copies of */
	__u64 ftrace_regs_caller;
	__u64 entry_start; /* __entry_text_start, __entry_text_end */
	__u64 entry_end;
	__u64 nmi_start; /* the entry of NMIs */
	__u64 nmi_end;
	__u64 switch_asm_start; /* __switch_to_asm() */
	__u64 switch_asm_end;
	__u64 switch_start; /* __switch_to() */
	__u64 switch_end;
	__u64 insn_slots;    /* kprobe_insn_cache of kprobes' and of optimized kprobes' slots; */
	__u64 optinsn_slots; /* 0 if unknown */
	__u64 comm[2 * KW_FILTER_VALUES];
	__u64 pidns;	   /* KW_OUTPUT_NUMBERED, KW_PER_NUMBER: struct pid_namespace of the user */
	__u64 midnight_ns; /* from some local midnight to when CLOCK_MONOTONIC began */
	__u32 orc_lookups; /* entries in orc_lookup */
	__u32 orc_entries; /* entries in orc_ip and orc */
	__u32 method;	   /* enum kw_method */
	__u32 fentry;	   /* attached by fentry or fexit, not by kprobe or kretprobe */
	__u32 place;	   /* enum kw_place */
	__u32 typed_loads; /* the kernel has bpf_rdonly_cast() */
	__u32 max_frames;  /* 2..KW_MAX_FRAMES: deeper stacks are cut and marked */
	__u32 verify;	   /* 1 in so many events, at random, is compared; 0 none */
	__u32 self_check;  /* so many first events of each CPU are compared */
	__u32 kernel_frames; /* most that the kernel gives, at most KW_MAX_FRAMES */
	__u32 stack_padding; /* bytes above the registers at a stack's end (FRED) */
	__u32 output;	     /* enum kw_output */
	__u32 per;	     /* enum kw_per */
	__u32 sampled;	     /* take only so many events as kw_chance() says */
	__u32 filter;	     /* KW_FILTER_* */
	__u32 comms;	     /* how many of comm, of places.netns, of places.cgroup are given */
	__u32 netnses;
	__u32 cgroups;
	__u32 cgroup_level[KW_FILTER_VALUES];
	__u32 many;	 /* more than one FUNC: the way of attaching tells which one it is */
	__u32 special;	 /* filters, sampling, or many: nothing of these is looked at without it */
	__u32 slow;	 /* anything but the manual method, counting: see kw_take_hit() */
	__u32 nodes;	 /* in the tree, what is not for frames included */
	__u32 node_mask; /* of an offset in the tree: its size, a power of two, less a node */
	__u32 pidns_level; /* namespaces above cfg.pidns */
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
	/* Set by the program when its self-check has failed: from then on the kernel unwinds. */
	__u32 distrust;
	__u32 start;	  /* enum kw_start */
	__u32 stack_size; /* of a task, in bytes */
	__u32 reserved;
};

/*
 * The calling-context tree: a node is a frame in the context of those between it and FUNC; the node
 * where a walk ends is the stack. Nodes are named by their offset in bytes. A node belongs to one
 * CPU: nobody else writes it.
 */
enum kw_kind {
	KW_NODE_NONE = 0,
	KW_NODE_PLAIN = 1, /* the next return address stands delta bytes on (or by BP) */
	KW_NODE_BP = 2,	   /* it stands right below what is delta bytes on from BP */
	KW_NODE_DEREF = 3, /* the same, from where the word above this address points */
	KW_NODE_STEP = 4,  /* the next frame is found by the rule, in full */
	KW_NODE_END = 5,   /* outermost */
	KW_NODE_USER = 6,  /* outermost if the code segment, delta bytes on, is a user's; or STEP */
	KW_NODE_LAST = 7, /* frame pointers: outermost if at the task stack's registers; or PLAIN */
	KW_NODE_CUT = 8,  /* the first frame beyond max_frames */
	KW_NODE_STALE = 9,     /* other code has come to its place */
	KW_NODE_ROOT = 10,     /* FUNC: of what was walked */
	KW_NODE_KERNEL = 11,   /* a frame of the kernel's own unwinder */
	KW_NODE_GROUP = 12,    /* no frame: those events of its parent that belong together */
	KW_NODE_FUNCTION = 13, /* one of many FUNCs, under a root that is none */
	KW_NODE_ALIGNED = 14   /* it stands below where a word points that the rule tells from BP */
};

/* Where the rule of a node comes from, and until when it holds. */
enum kw_source {
	KW_SOURCE_IMAGE = 0,  /* vmlinux: for ever */
	KW_SOURCE_MODULE = 1, /* until the tree of modules changes */
	KW_SOURCE_BPF = 2,    /* until the tree of BPF programs changes */
	KW_SOURCE_ONCE = 3,   /* for one event */
};

#define KW_NODE_BYTES 64
#define KW_MIN_NODES  16
/* What each CPU has ahead of all frames: struct kw_cpu. */
#define KW_CPU_BYTES (8 * KW_NODE_BYTES)
/* What a call counts for that was taken with certainty: weights are in parts of this. */
#define KW_WEIGHT_ONE 256
/* A word that is no address: no return address equals the ip of node 0 or of a group. */
#define KW_NO_ADDRESS 0x6b77616c6b000000ULL

struct kw_node {
	__u64 ip; /* of a GROUP KW_NO_ADDRESS | tgid, CPU, or a part of what value tells */
	union {
		struct {
			__u32 hint;  /* the PLAIN child of the image's code that matched last */
			__u32 other; /* any child that matched before or since */
			__u32 delta; /* of code outside of the image: kw_code_at() */
			__u32 rule;
		};
		__u64 value[2]; /* of a GROUP: a name, 16 bytes, or the number of a cgroup */
	};
	__u32 parent;
	__u32 next;  /* in the same bucket of the table of nodes */
	__u64 count; /* events whose stack ends here */
	__u64 cut;   /* events whose stack goes on, but could not be followed */
	union {
		struct {
			__u32 sequence; /* of the tree that the rule's source is in */
			__s32 bp_at;	/* where BP was saved, from this frame's return address */
		};
		__u64 hits; /* of a root */
	};
	__u8 kind;   /* enum kw_kind */
	__u8 source; /* enum kw_source */
	__u8 depth;  /* FUNC's caller has 1 */
	__u8 flags;  /* KW_NODE_* below */
	__u32 group; /* the GROUP under it that matched last */
};

#define KW_NODE_HAS_REGS (1 << 0) /* the walk came to it over saved registers */
#define KW_NODE_BP_SAVED (1 << 1) /* BP is at bp_at; otherwise the walk has it */

#define KW_EV_TRUNCATED (1 << 0) /* the stack goes on below the last frame */
#define KW_EV_FALLBACK	(1 << 1) /* frames come from the kernel's own unwinder */
#define KW_EV_MAP	(1 << 2) /* stack_id belongs to the second stack map */
#define KW_EV_NO_ID	(1 << 3) /* KW_BOTH: the helper lost this stack */
#define KW_EV_DIFFERS	(1 << 4) /* walk and kernel disagree; other is the other side's node */
#define KW_EV_STACKED	(1 << 6) /* a return address was replaced twice; this is the real one */
#define KW_EV_JUMPED	(1 << 7) /* FUNC jumped to the trampoline: the kernel's stack lacks it */

/*
 * One record in the ring. What tells calls apart stands together, from node to comm: the fewer
 * bytes, the cheaper for the reader.
 */
struct kw_event {
	__s32 stack_id; /* helper: key of the stack map */
	__u32 other;	/* node of the other side of a difference */
	__u32 node;	/* where the stack ends in the tree; 0: helper */
	__u16 flags;	/* KW_EV_* */
	__u16 cpu;
	/* KW_OUTPUT_BRIEF ends here */
	__u32 tgid;
	__u32 pid;
	char comm[KW_COMM_LEN];	  /* whose call it was */
	char clock[KW_CLOCK_LEN]; /* time of day, "HH:MM:SS.mmmuuu " */
	__u64 time_ns;		  /* CLOCK_MONOTONIC */
};

#define KW_BRIEF_BYTES 16

/*
 * What became of hits, per CPU. Hits themselves are counted by the roots, stacks by the nodes:
 * hits of roots = counts of nodes (or records) + everything lost_*.
 */
struct kw_counters {
	__u64 lost_ring_full;
	__u64 lost_ring_busy; /* the ring's lock was held, in an NMI */
	__u64 lost_eexist;    /* another stack sits in the bucket */
	__u64 lost_enomem;    /* the stack map is full */
	__u64 lost_efault;    /* the kernel's unwinder returned nothing */
	__u64 lost_ebusy;
	__u64 lost_other;
	__u64 lost_map_full;  /* helper: no room to count one more stack */
	__u64 lost_user_mode; /* a sample of user space */
	__u64 taken_ns;	      /* with cfg.sampled: spent on the events that were taken */
	__u64 pool_full;      /* events that the tree had no room for all of */
	/* Comparisons; hits that were not compared are in none of these. */
	__u64 checked;
	__u64 mismatches;
	__u64 missing_caller; /* the kernel lacks FUNC's direct caller (frame pointers) */
	__u64 wrong_start;    /* the kernel started at the address behind the int3 */
	__u64 stacked_hooks;  /* the kernel undid one of two replacements of an address */
	__u64 nested_nmi;     /* the kernel did not find back from the stack of NMIs */
	__u64 task_switch;    /* the kernel did not take the stack for the current task's */
};

/* In and out of the kw_facts program, which is run once before attaching. */
struct kw_facts {
	__u64 orc_fp_entry; /* in: addresses, 0 where absent */
	__u64 orc_null_entry;
	__u64 orc_header;
	__u64 function; /* the first instruction of FUNC, and the traced one */
	__u64 traced;
	__u64 kprobes_disarmed; /* bool kprobes_all_disarmed */
	__u64 fp_entry;		/* out: the first bytes at each */
	__u64 null_entry;
	__u8 function_code[KW_CODE_BYTES];
	__u8 traced_code[KW_CODE_BYTES];
	__u8 header[KW_ORC_HASH_LEN];
	__u32 unwinder;	     /* enum kw_unwinder */
	__u32 counts_missed; /* this kernel counts the misses of kprobes (6.7) */
	__u32 stack_pages;   /* of the current task; 0 if unknown */
	__u64 disarmed;	     /* kprobes are switched off; 0 if unknown */
};

/*
 * In and out of the kw_calls program: some of the places where ftrace can get itself called, as
 * many as there is room for in its map. To be run again until page is 0.
 */
struct kw_calls {
	__u64 page; /* struct ftrace_page *, at first the address of ftrace_pages_start */
	__u32 from; /* which of its records comes next */
	__u32 nr;   /* out: how many records there are in the map */
	__u32 size; /* out: of a record, which begins with the address */
	__u32 first;
};

#define KW_CALLS_BYTES 65536

/* Out of the kw_here program: namespaces of the task that runs it. */
struct kw_here {
	__u64 pidns;	    /* struct pid_namespace */
	__u32 pidns_level;  /* namespaces above it */
	__u32 cgroup_level; /* cgroups above its own */
};

/* A task in the PID namespace of whoever reads the kw_tasks iterator. */
struct kw_task {
	__u32 number; /* of the thread, there */
	__u32 pid;    /* the kernel's numbers */
	__u32 tgid;
	__u32 reserved;
};

_Static_assert(sizeof(struct kw_node) == KW_NODE_BYTES, "a cache line");
_Static_assert(sizeof(struct kw_event) == 64, "a multiple of 8");

#endif /* KWALK_H */
