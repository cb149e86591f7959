/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * kwalk.h: the interface between the BPF programs and user space. Fixed-width types only.
 *
 * src/kwalk/abi.py mirrors it; a unit test compares the two through the object's BTF.
 */
#ifndef KWALK_H
#define KWALK_H

#include "types.h"

#define KW_MAX_FRAMES	127 /* default of the sysctl kernel.perf_event_max_stack */
#define KW_COMM_LEN	16
#define KW_CLOCK_LEN	16
#define KW_DIGITS	1024 /* entries of the table digits, a power of two */
#define KW_ORC_HASH_LEN 20

/* Method of unwinding (bitmask). */
enum kw_method {
	KW_HELPER = 1, /* bpf_get_stackid() */
	KW_MANUAL = 2, /* the walk in this object */
	KW_BOTH = 3,   /* both on the same hit, to be compared */
};

/* Unwinder that the kernel was built with. */
enum kw_unwinder {
	KW_UNWIND_NONE = 0,
	KW_UNWIND_FP = 1,
	KW_UNWIND_ORC = 2,
};

/* Place of the probe in the traced function, FUNC. */
enum kw_place {
	KW_PLACE_ENTRY = 0,
	KW_PLACE_INSIDE = 1, /* a kprobe at FUNC + offset */
	KW_PLACE_RETURN = 2, /* kretprobe or fexit */
	/* No function is traced, and the root of the tree is not a frame: */
	KW_PLACE_TRACEPOINT = 3,
	KW_PLACE_SAMPLE = 4, /* wherever a perf event interrupts */
};

/* Progress of FUNC's prologue at a kprobe inside FUNC, on kernels with frame pointers. */
enum kw_start {
	KW_START_UNKNOWN = 0,
	KW_START_BARE = 1,   /* SP points at the return address */
	KW_START_PUSHED = 2, /* BP has been pushed on top of it */
	KW_START_FRAME = 3,  /* BP points to the pushed BP */
};

/* Use made of a stack. */
enum kw_output {
	KW_OUTPUT_COUNT = 0,	/* count it in the node where it ends */
	KW_OUTPUT_EVENT = 1,	/* send a record for each hit: struct kw_short, or kw_event */
	KW_OUTPUT_BRIEF = 2,	/* send the record's first KW_BRIEF_BYTES: the stack alone */
	KW_OUTPUT_NUMBERED = 3, /* like EVENT, with PIDs of the namespace cfg.pidns */
};

/* Filter kinds (bitmask). A hit is traced only if it passes every kind that is set. */
#define KW_FILTER_CPU	  (1 << 0)
#define KW_FILTER_PROCESS (1 << 1)
#define KW_FILTER_THREAD  (1 << 2)
#define KW_FILTER_COMM	  (1 << 3)
#define KW_FILTER_NETNS	  (1 << 4)
#define KW_FILTER_CGROUP  (1 << 5)
#define KW_FILTER_VALUES  4 /* most values of a kind; a hit passes if it matches one */

#define KW_CPUS	 8192	   /* largest NR_CPUS of any architecture, a power of two */
#define KW_TASKS (1 << 22) /* PID_MAX_LIMIT: PIDs are smaller */

/* Per-CPU filter state, a cache line each to avoid false sharing. */
struct kw_gate {
	__u64 filtered; /* filtered hits on this CPU */
	__u64 closed;	/* nonzero: filter every hit on this CPU; written by user space */
	__u64 reserved[6];
};

/* Key by which the hits of a stack are counted separately. */
enum kw_per {
	KW_PER_NOTHING = 0,
	KW_PER_PID = 1, /* tgid; the group keeps the process's first comm */
	KW_PER_COMM = 2,
	KW_PER_CPU = 3,
	KW_PER_CGROUP = 4,
	KW_PER_NUMBER = 5, /* like PID, by the tgid in the namespace cfg.pidns */
};

/* PID of a task that has none in cfg.pidns; larger than every PID. */
#define KW_NO_NUMBER 0xffffffU
/* Marks of a group of tasks without a PID: in its bits, and in value[1] behind the comm. */
#define KW_NUMBERLESS	   0x800000U
#define KW_NUMBERLESS_NAME (1ULL << 63)

/* Network namespaces and cgroups of filters; user space rewrites them when they change. */
struct kw_places {
	__u64 cgroup[KW_FILTER_VALUES]; /* cgroup ids; cfg.cgroup_level has their depth */
	__u32 netns[KW_FILTER_VALUES];	/* inode numbers */
};

#define KW_ENTRY_BYTES 16 /* a tracer's call at FUNC's entry returns within these first bytes */

/*
 * Configuration, in .rodata: user space writes it before loading, and the verifier takes it as
 * constant. Addresses are 0 where kallsyms lacks the symbol, and where the architecture has none.
 */
struct kw_config {
	__u64 func;	    /* address of the traced instruction, FUNC or FUNC + offset; 0: many */
	__u64 text_start;   /* _stext */
	__u64 text_end;	    /* _etext */
	__u64 init_start;   /* _sinittext */
	__u64 init_end;	    /* _einittext */
	__u64 image_end;    /* _end */
	__u64 orc_ip;	    /* __start_orc_unwind_ip */
	__u64 orc;	    /* __start_orc_unwind */
	__u64 orc_lookup;   /* orc_lookup: index of the first entry of each 256 bytes of text */
	__u64 rethook;	    /* arch_rethook_trampoline(): replaces return addresses */
	__u64 graph_return; /* return_to_handler(): likewise, of the graph tracer */
	__u64 hook_first;   /* the lower of the two; the other lies hook_span bytes above */
	__u64 hook_span;
	__u64 mod_tree;		  /* struct latch_tree_root of modules */
	__u64 bpf_tree;		  /* struct latch_tree_root of BPF programs */
	__u64 ftrace_ops_list;	  /* the pointer to the first struct ftrace_ops */
	__u64 ftrace_list_end;	  /* sentinel of that list */
	__u64 ftrace_caller;	  /* code that ftrace copies into trampolines */
	__u64 ftrace_regs_caller; /* likewise, for ops that save registers */
	__u64 entry_start;	  /* __entry_text_start, __entry_text_end */
	__u64 entry_end;
	__u64 nmi_start; /* entry code of NMIs */
	__u64 nmi_end;
	__u64 switch_asm_start; /* __switch_to_asm() */
	__u64 switch_asm_end;
	__u64 switch_start; /* __switch_to() */
	__u64 switch_end;
	__u64 insn_slots;		  /* struct kprobe_insn_cache of kprobes' slots */
	__u64 optinsn_slots;		  /* likewise of optimized kprobes */
	__u64 comm[2 * KW_FILTER_VALUES]; /* names to match, two words each */
	__u64 pidns;	   /* the user's struct pid_namespace: KW_OUTPUT_NUMBERED, KW_PER_NUMBER */
	__u64 code_mask;   /* bits that every address of code has set, a signature in their place */
	__u64 midnight_ns; /* local midnight to the start of CLOCK_MONOTONIC, modulo a day */
	__u32 orc_lookups; /* entries in orc_lookup */
	__u32 orc_entries; /* entries in orc_ip and orc */
	__u32 method;	   /* enum kw_method */
	__u32 fentry;	   /* attached by fentry or fexit, not by kprobe or kretprobe */
	__u32 place;	   /* enum kw_place */
	__u32 typed_loads; /* the kernel has bpf_rdonly_cast() */
	__u32 max_frames;  /* 2..KW_MAX_FRAMES: deeper stacks are truncated */
	__u32 verify;	   /* compare 1 in this many hits, at random; 0: none */
	__u32 self_check;  /* compare this many first hits of each CPU */
	__u32 kernel_frames; /* kernel.perf_event_max_stack, at most KW_MAX_FRAMES */
	__u32 stack_padding; /* bytes above the registers at a stack's end (FRED) */
	__u32 output;	     /* enum kw_output */
	__u32 per;	     /* enum kw_per */
	__u32 sampled;	     /* skip hits at random, by kw_chance() */
	__u32 filter;	     /* KW_FILTER_* */
	__u32 comms;	     /* number of values in comm */
	__u32 netnses;	     /* in places.netns */
	__u32 cgroups;	     /* in places.cgroup */
	__u32 cgroup_level[KW_FILTER_VALUES]; /* depth of each cgroup below the root */
	__u32 many;			      /* several FUNCs: the hit itself tells which */
	__u32 special;	   /* filter, sampled, or many: these are read only if it is set */
	__u32 slow;	   /* anything but counting by the manual method: see kw_take_hit() */
	__u32 nodes;	   /* capacity of the tree, KW_CPU_BYTES of each CPU included */
	__u32 node_mask;   /* size of the tree in bytes, a power of two, less a node */
	__u32 pidns_level; /* number of PID namespaces above cfg.pidns */
	__u32 first_part;  /* CPU parts of the tree before this level's: level * possible CPUs */
	__u32 reserved;
};

/* State in .data: user space writes active_map while programs run, the rest before attaching. */
struct kw_control {
	__u32 active_map; /* stack map in use. 0: stacks_a, 1: stacks_b */
	/*
	 * Register numbers of struct orc_entry. They changed in 7.1 (SP was 5, is 3), which BTF
	 * does not show; user space decodes orc_fp_entry and null_orc_entry, whose meaning is
	 * known.
	 */
	__u32 orc_reg_sp;
	__u32 orc_reg_prev_sp;
	__u32 orc_last;	  /* index of the last entry of vmlinux's tables */
	__u32 distrust;	  /* the self-check failed: every hit falls back; written by programs */
	__u32 start;	  /* enum kw_start */
	__u32 stack_size; /* bytes of a task's stack */
	__u32 saved; /* a tracepoint's program: bytes from R10 to its frame record; 0: unknown */
};

/*
 * Kinds of nodes of the calling-context tree. A node is a frame in the context of the frames
 * between it and FUNC; the node where a walk ends is the stack. Nodes are named by their offset in
 * the tree, in bytes. A node belongs to one CPU, its only writer.
 */
enum kw_kind {
	KW_NODE_NONE = 0,
	KW_NODE_PLAIN = 1, /* next return address: delta bytes above this one's slot, or by BP */
	KW_NODE_BP = 2,	   /* next return address: in the word below BP + delta */
	KW_NODE_DEREF = 3, /* likewise, from the word above this one's slot */
	KW_NODE_STEP = 4,  /* next frame: by the full rule */
	KW_NODE_END = 5,   /* outermost frame */
	KW_NODE_USER = 6,  /* outermost if CS, delta bytes above the slot, is a user's; else STEP */
	KW_NODE_LAST = 7,  /* frame pointers: outermost if kw_last_frame(); else PLAIN */
	KW_NODE_CUT = 8,   /* first frame beyond max_frames */
	KW_NODE_STALE = 9, /* other code is at its address now */
	KW_NODE_ROOT = 10, /* FUNC, of walked stacks */
	KW_NODE_KERNEL = 11,   /* a frame of the kernel's own unwinder */
	KW_NODE_GROUP = 12,    /* no frame: the hits of its parent with one key of cfg.per */
	KW_NODE_FUNCTION = 13, /* one of many FUNCs, under a root that is not a frame */
	KW_NODE_ALIGNED = 14   /* next return address: below the CFA that a word near BP holds */
};

/* Kind of code that a node's rule is of: how long the rule holds. */
enum kw_source {
	KW_SOURCE_IMAGE = 0,  /* vmlinux: always */
	KW_SOURCE_MODULE = 1, /* until the latch tree of modules changes */
	KW_SOURCE_BPF = 2,    /* until the latch tree of BPF programs changes */
	KW_SOURCE_ONCE = 3,   /* for this hit only */
};

#define KW_NODE_BYTES 64
#define KW_MIN_NODES  16
/* A CPU's part of the tree before all frames: struct kw_cpu. */
#define KW_CPU_BYTES (8 * KW_NODE_BYTES)
/* Fixed-point 1.0 of sampling weights (8 fractional bits). */
#define KW_WEIGHT_ONE 256
/* High bits of the ip of node 0 and of groups: no return address has them. */
#define KW_NO_ADDRESS 0x6b77616c6b000000ULL

/*
 * Programs that user space generates for hot stacks (docs/hot.md). The entry program of a probe
 * calls the one in slot KW_HOT_PROGRAM of the map hot; that one returns to the entry program, in
 * slot KW_HOT_ENTRY, by resume.
 */
#define KW_HOT_PROGRAM 0
#define KW_HOT_ENTRY   1
#define KW_HOT_SLOTS   2
#define KW_HOT_LEAVES  1024 /* stacks that generated programs of a probe can know */
#define KW_HOT_MISS    1ULL /* resume: the stack is another one */

/* State of a CPU; a probe's program runs once at a time on each. */
struct kw_hot {
	/*
	 * Set by the generated program for the entry program: KW_HOT_MISS, or the offset of the
	 * node where the stack ends, with KW_EV_* << 32.
	 */
	__u64 resume;
	__u64 missed;	  /* hits of stacks that the generated program did not know */
	__u64 unassisted; /* hits while there was no generated program */
	/* By fentry, what the last walk met on the trampoline's stack (kw_start_fentry()): */
	__u64 returns;	 /* return address into FUNC; 0: FUNC jumped to the trampoline */
	__u32 arguments; /* words of FUNC's arguments */
	__u32 shift;	 /* words between them and the saved frame pointer */
	__u64 context;	 /* the program's context, as a number */
	__u64 reserved[2];
};

/*
 * Levels of programs on one function. Level 0 takes all hits but the ones that the kernel refuses
 * it, since it is running on that CPU already. Level 1 takes the hits that level 0 is refused,
 * level 2 the hits that both are refused (docs/nested.md).
 */
#define KW_LEVELS 3

struct kw_node {
	__u64 ip; /* return address. GROUP: KW_NO_ADDRESS | tgid, CPU, or a hash of value */
	union {
		struct {
			__u32 hint;  /* last PLAIN child, of KW_SOURCE_IMAGE, that matched */
			__u32 other; /* another child that matched */
			__u32 delta; /* bytes, by kind; outside of the image kw_code_at() */
			__u32 rule;
		};
		__u64 value[2]; /* GROUP: comm, 16 bytes, or the id of a cgroup */
	};
	__u32 parent;
	__u32 next;  /* next node in the same bucket of the hash table */
	__u64 count; /* hits whose stack ends here */
	__u64 cut;   /* hits whose stack is truncated here */
	union {
		struct {
			__u32 sequence; /* sequence count of source's latch tree with this rule */
			__s32 bp_at;	/* saved BP, in bytes from this return address's slot */
		};
		__u64 hits; /* roots: hits, or skipped hits (struct kw_cpu) */
	};
	__u8 kind;   /* enum kw_kind */
	__u8 source; /* enum kw_source */
	__u8 depth;  /* frames below it: 1 for FUNC's caller */
	__u8 flags;  /* KW_NODE_HAS_REGS, KW_NODE_BP_SAVED */
	__u32 group; /* last child of kind GROUP that matched */
};

#define KW_NODE_HAS_REGS (1 << 0) /* the frame was interrupted: pt_regs lie below it */
#define KW_NODE_BP_SAVED (1 << 1) /* BP is saved at bp_at; otherwise kw_state.bp has it */

#define KW_EV_TRUNCATED (1 << 0) /* the stack is cut at its outer end */
#define KW_EV_FALLBACK	(1 << 1) /* frames come from the kernel's own unwinder */
#define KW_EV_MAP	(1 << 2) /* stack_id belongs to the second stack map */
#define KW_EV_NO_ID	(1 << 3) /* KW_BOTH: the helper method lost this stack */
#define KW_EV_DIFFERS	(1 << 4) /* walk and kernel differ; other is the other side's node */
#define KW_EV_STACKED	(1 << 6) /* a return address was replaced twice; this is the real one */
#define KW_EV_JUMPED	(1 << 7) /* FUNC jumped to the trampoline: the kernel's stack lacks it */

/* Record of a hit in the ring buffer, if the helper is asked (KW_HELPER), or the stack is all. */
struct kw_event {
	__s32 stack_id; /* helper method: key in the stack map */
	__u32 other;	/* KW_EV_DIFFERS: node of the other side */
	__u32 node;	/* node where the stack ends; 0: helper method */
	__u16 flags;	/* KW_EV_* */
	__u16 cpu;
	/* KW_OUTPUT_BRIEF ends here */
	__u32 tgid;
	__u32 pid;
	char comm[KW_COMM_LEN];	  /* current->comm when the probe fired */
	char clock[KW_CLOCK_LEN]; /* local time of day, "HH:MM:SS.mmmuuu " */
	__u64 time_ns;		  /* CLOCK_MONOTONIC */
};

#define KW_BRIEF_BYTES 16

/*
 * Records of the manual method, all of one size. A key stands for stack and task; a CPU has
 * KW_KEYS for each level, the first of which is (cfg.first_part + its number) * KW_KEYS.
 */
#define KW_KEYS		   4096
#define KW_SLOTS	   1024 /* pairs of the latest keys that a CPU remembers */
#define KW_SHORT_FLAGS	   (KW_EV_TRUNCATED | KW_EV_FALLBACK) /* bits that are 0 in a node's offset */
#define KW_MARK_KEY	   (1U << 30)			      /* struct kw_key */
#define KW_MARK_ANEW	   (1U << 29) /* a CPU's first key: its earlier ones are void */
#define KW_MARK_DIFFERENCE (1U << 31) /* struct kw_difference */

/* Hit with the stack and the task of an earlier struct kw_key. */
struct kw_short {
	__u32 key;
	__u32 reserved;
	char clock[KW_CLOCK_LEN];
	__u64 time_ns;
};

/* Stack and task that a key stands for from now on. */
struct kw_key {
	__u32 key;  /* with KW_MARK_KEY */
	__u32 node; /* where the stack ends, with KW_SHORT_FLAGS */
	__u32 tgid;
	__u32 pid;
	char comm[KW_COMM_LEN];
};

/* KW_EV_DIFFERS: both sides of the hit that follows. */
struct kw_difference {
	__u32 mark;  /* KW_MARK_DIFFERENCE */
	__u32 node;  /* the hit's, with KW_SHORT_FLAGS */
	__u32 other; /* the other side's */
	__u32 reserved[5];
};

/*
 * Per-CPU counters of lost hits and of comparisons. Roots count hits, nodes count recorded stacks:
 * hits of roots = counts of nodes (or records) + all lost_*.
 */
struct kw_counters {
	__u64 lost_ring_full;
	__u64 lost_ring_busy; /* the ring's lock was held, in an NMI */
	__u64 lost_eexist;    /* another stack sits in the bucket */
	__u64 lost_enomem;    /* the stack map is full */
	__u64 lost_efault;    /* the kernel's unwinder returned nothing */
	__u64 lost_ebusy;
	__u64 lost_other;
	__u64 lost_map_full;  /* the map counted is full */
	__u64 lost_user_mode; /* a sample interrupted user space */
	__u64 taken_ns;	      /* cfg.sampled: time in programs for sampled hits, unless preempted */
	__u64 pool_full;      /* stacks truncated because the tree is full */
	/* Comparisons with the kernel's unwinder, by enum kw_verdict. */
	__u64 checked;	      /* all of them */
	__u64 mismatches;     /* unexplained */
	__u64 missing_caller; /* the kernel lacks FUNC's direct caller (frame pointers) */
	__u64 wrong_start;    /* the kernel started by the rule behind the int3 */
	__u64 stacked_hooks;  /* the kernel undid one of two replacements of an address */
	__u64 nested_nmi;     /* the kernel ended on the NMI stack */
	__u64 task_switch;    /* the kernel ended between two tasks */
	__u64 stack_switch;   /* the kernel looked for FUNC's caller on FUNC's stack only */
	__u64 overwritten;    /* the kernel's first answer was another hit's */
};

/* Context of the program kw_facts, which runs once before attaching. */
struct kw_facts {
	__u64 orc_fp_entry; /* in: addresses of symbols, 0 where absent */
	__u64 orc_null_entry;
	__u64 orc_header;
	__u64 kprobes_disarmed; /* in: address of bool kprobes_all_disarmed */
	__u64 fp_entry;		/* out: bytes at the addresses above, down to header */
	__u64 null_entry;
	__u8 header[KW_ORC_HASH_LEN];
	__u32 unwinder;	     /* enum kw_unwinder */
	__u32 counts_missed; /* the kernel counts missed kprobes (6.7) */
	__u32 stack_pages;   /* pages of the current task's stack; 0 if unknown */
	__u64 disarmed;	     /* kprobes are switched off; 0 also if unknown */
	__u32 window;	     /* BTF id of a type that is large enough to load any word of a stack */
	__u32 task_stack;    /* offset of task_struct.stack */
	__u32 regs_record;   /* offset of the frame record in struct pt_regs; 0 if there is none */
	__u32 last_record;   /* bytes from a task's last frame record to its stack's end */
	__u32 record_types;  /* such records are zeros, with a type behind */
	__u32 reserved;
};

/*
 * Context of the program kw_calls, which copies the next of ftrace's records (struct dyn_ftrace) to
 * the map calls. User space runs it until page is 0.
 */
struct kw_calls {
	__u64 page;  /* struct ftrace_page *, at first the address of ftrace_pages_start */
	__u32 from;  /* index of the page's next record */
	__u32 nr;    /* out: records in the map */
	__u32 size;  /* out: bytes of a record, which begins with the address */
	__u32 first; /* in: page is the address of ftrace_pages_start */
};

#define KW_CALLS_BYTES 65536

/* Context of the program kw_code, which copies kernel memory to the map calls. */
struct kw_code {
	__u64 address;
	__u32 size; /* bytes, at most KW_CALLS_BYTES */
	__u32 reserved;
};

/* Result of the program kw_here: namespaces and cgroup of the task that runs it. */
struct kw_here {
	__u64 pidns;	    /* struct pid_namespace */
	__u32 pidns_level;  /* number of PID namespaces above it */
	__u32 cgroup_level; /* depth of its cgroup below the root */
};

/* Record of the iterator kw_actives: a loaded program. */
struct kw_active {
	__u64 active; /* int __percpu *: how often it is running on a CPU */
	__u32 id;
	__u32 reserved;
};

/* Record of the iterator kw_tasks: a task in the reader's PID namespace. */
struct kw_task {
	__u32 number; /* its PID in that namespace */
	__u32 pid;    /* its PID in the initial namespace */
	__u32 tgid;
	__u32 reserved;
};

_Static_assert(sizeof(struct kw_node) == KW_NODE_BYTES, "a cache line");
_Static_assert(sizeof(struct kw_event) == 64, "a multiple of 8");
_Static_assert(sizeof(struct kw_hot) == KW_NODE_BYTES, "a node's place in the tree");
_Static_assert(sizeof(struct kw_key) == sizeof(struct kw_short), "one size");
_Static_assert(sizeof(struct kw_difference) == sizeof(struct kw_short), "one size");

#endif /* KWALK_H */
