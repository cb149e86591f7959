// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * kwalk.bpf.c: the programs. One is loaded, by the way of attaching; what does not
 * belong to the chosen method falls away as dead code in the verifier.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kwalk.h"

/* Sections of their own, so that user space finds each at offset 0 of a map. */
const volatile struct kw_config cfg SEC(".rodata.config") = {};
struct kw_control control SEC(".data.control") = {};

#include "load.bpf.h"
#include "latch.bpf.h"
#include "text.bpf.h"
#include "rule.bpf.h"
#include "hook.bpf.h"
#include "step.bpf.h"
#include "tree.bpf.h"
#include "arrive.bpf.h"
#include "walk.bpf.h"
#include "entry.bpf.h"
#include "event.bpf.h"
#include "verify.bpf.h"
#include "helper.bpf.h"

/*
 * Let the kernel unwind this event. Returns the node of its stack, 0 if there is none; flags
 * become those of that stack.
 */
static __always_inline __u32 kw_fall_back(void *ctx, struct kw_scratch *sc, __u32 *flags)
{
	__u64 mark = sc->walk.nr > 1 ? sc->walk.frames[1] : 1;
	__u32 at;

	if (*flags & KW_EV_JUMPED)
		mark &= ~(1ULL << 63);
	at = kw_add_kernels(sc, mark);
	if (sc->kernel.flags & KW_EV_TRUNCATED)
		kw_count_full();
	*flags = (*flags & ~KW_EV_TRUNCATED) | KW_EV_FALLBACK | sc->kernel.flags;
	return at;
}

/*
 * Compare where that is asked for, and let the kernel unwind where the walk could not know or is
 * not to be trusted. Returns the node that the event belongs to, 0 if there is none.
 */
static __always_inline __u32 kw_check(void *ctx, struct kw_walk *w, __u64 hits, int step)
{
	bool distrust = cfg.self_check && *(volatile __u32 *)&control.distrust;
	bool fall_back = step == KW_STEP_UNKNOWN || distrust;
	struct kw_scratch *sc;

	if (!fall_back && !kw_must_verify(hits))
		return w->node;
	sc = kw_scratch();
	if (!sc)
		return 0;
	kw_read_frames(sc, w->node);
	sc->walk.flags = w->flags;
	if (!kw_ask_kernel(ctx, sc))
		return fall_back ? 0 : w->node;
	if (fall_back)
		return kw_fall_back(ctx, sc, &w->flags);
	if (kw_verify(sc) != KW_DIFFERENT)
		return w->node;
	w->flags |= KW_EV_DIFFERS;
	if (!cfg.self_check) {
		w->other = kw_add_kernels(sc, 1);
		return w->node;
	}
	control.distrust = 1;
	w->other = w->node;
	return kw_fall_back(ctx, sc, &w->flags);
}

/* What remains to be done about a stack but where it is merely counted: its node, or 0. */
static __always_inline __u32 kw_walked(void *ctx, void *nodes, struct kw_walk *w, __u64 hits,
				       int step)
{
	struct kw_counters *c;
	__u32 at;

	w->other = 0;
	if (w->s.stacked)
		w->flags |= KW_EV_STACKED;
	if (step == KW_STEP_CUT) {
		w->flags |= KW_EV_TRUNCATED;
		if (kw_at(nodes, w->node)->kind != KW_NODE_CUT)
			kw_count_full();
	}
	at = kw_check(ctx, w, hits, step);
	if (!at) {
		c = kw_counters();
		if (c)
			c->lost_efault++;
	}
	return at;
}

/* The helper's stack is cut to begin at FUNC; where it lacks FUNC, at its caller: a node. */
static __always_inline __u32 kw_find_caller(void *ctx, void *nodes, struct kw_walk *w, bool fentry)
{
	__u64 ip;

	if (!fentry)
		return 0;
	kw_start_fentry(w, ctx);
	if (!(w->flags & KW_EV_JUMPED))
		return 0;
	ip = kw_load(w->s.sp - 8);
	if (kw_may_be_hook(ip))
		ip = kw_recover(ip, w->s.sp - 8);
	/* Of any CPU: counts are kept by stack id and this node. */
	return kw_child(nodes, KW_CPU_BYTES, ip, KW_NODE_KERNEL);
}

/* A hit of the helper method. */
static __always_inline void kw_helper_hit(void *ctx, void *nodes, struct kw_walk *w, bool fentry)
{
	struct kw_event event = {};
	struct kw_counters *c;
	__s64 id;

	event.node = kw_find_caller(ctx, nodes, w, fentry);
	event.flags = w->flags;
	id = kw_stack_id(ctx, &event.flags);
	event.stack_id = id;
	if (id >= 0 && cfg.output != KW_OUTPUT_COUNT) {
		kw_submit(&event, nodes);
		return;
	}
	c = kw_counters();
	if (c && id < 0)
		kw_count_helper_loss(c, id);
	else if (c)
		kw_count_stack(c, id, event.node, w->weight);
}

/* Count a stack that needs more than that, or send it. */
static __always_inline void kw_deliver(void *ctx, void *nodes, struct kw_walk *w)
{
	struct kw_event event = {};

	event.node = w->node;
	event.other = w->other;
	event.flags = w->flags;
	if (cfg.method == KW_BOTH) {
		event.stack_id = kw_stack_id(ctx, &event.flags);
		if (event.stack_id < 0)
			event.flags |= KW_EV_NO_ID;
	}
	if (cfg.output != KW_OUTPUT_COUNT) {
		kw_submit(&event, nodes);
		return;
	}
	if (cfg.per_process) {
		event.node = kw_of_process(nodes, w->node);
		if (event.node == w->node)
			kw_count_full();
	}
	if (event.flags & KW_EV_TRUNCATED)
		kw_at(nodes, event.node)->cut++;
	else
		kw_at(nodes, event.node)->count++;
	kw_weigh(event.node, w->weight);
}

/*
 * The way to get called is known when this is compiled. Whatever else may be asked for but plain
 * counting is behind cfg.slow, so that this does not pay for it.
 */
static __always_inline void kw_take_hit(void *ctx, void *nodes, struct kw_cpu *cpu, __u32 root,
					bool fentry)
{
	const __u32 slow = cfg.slow;
	struct kw_walk *w = &cpu->walk;
	struct kw_node *node;
	int step;

	w->node = root;
	w->flags = 0;
	w->s.regs = 0;
	w->s.stacked = 0;
	*(volatile __u64 *)&w->ctx = (__u64)ctx; /* through memory: a plain number */
	if (slow && cfg.method == KW_HELPER) {
		kw_helper_hit(ctx, nodes, w, fentry);
		return;
	}
	step = fentry ? kw_start_fentry(w, ctx) : kw_start_kprobe(w, ctx);
	step = kw_walk(w, nodes, step, &node);
	if (step == KW_STEP_END && !slow) {
		node->count++;
		kw_weigh((void *)node - nodes, w->weight);
		return;
	}
	/* Through memory: to the verifier one number, wherever in the loop it comes from. */
	*(volatile __u32 *)&w->node = (void *)node - nodes;
	*(volatile int *)&w->step = step;
	step = *(volatile int *)&w->step;
	w->node = kw_walked(ctx, nodes, w, cpu->walked.hits - cpu->kernel.hits, step);
	if (w->node)
		kw_deliver(ctx, nodes, w);
}

static __always_inline int kw_hit(void *ctx, bool fentry)
{
	__u32 root = kw_cpu_offset();
	void *nodes = kw_tree();
	struct kw_counters *c;
	struct kw_cpu *cpu;
	__u64 start = 0;

	if (!nodes)
		return 0; /* cannot be: the map has this one element */
	cpu = kw_cpu_at(nodes, root);
	cpu->walked.hits++;
	if (cfg.sampled) {
		if (kw_sampled_out(nodes, cpu))
			return 0;
		start = bpf_ktime_get_ns();
	}
	kw_take_hit(ctx, nodes, cpu, root, fentry);
	if (cfg.sampled) {
		c = kw_counters();
		if (c)
			c->taken_ns += bpf_ktime_get_ns() - start;
	}
	return 0;
}

SEC("kprobe")
int kw_kprobe(struct pt_regs *ctx)
{
	return kw_hit(ctx, false);
}

SEC("fentry")
int kw_fentry(void *ctx)
{
	return kw_hit(ctx, true);
}

SEC("fexit")
int kw_fexit(void *ctx)
{
	return kw_hit(ctx, true);
}

/* Of the current task's stack, without its guard page; 0 if it is not from vmalloc. */
static __always_inline __u32 kw_stack_pages(void)
{
	__u64 area = 0;

	if (bpf_core_field_exists(struct task_struct, stack_vm_area))
		area = kw_load_field(bpf_get_current_task(), struct task_struct, stack_vm_area);
	return area ? kw_load_field(area, struct vm_struct, nr_pages) : 0;
}

/* Run once by user space: what the running kernel is like, and what its tables look like. */
SEC("syscall")
int kw_facts(struct kw_facts *facts)
{
	__u8 header[KW_ORC_HASH_LEN] = {};
	__u8 code[KW_CODE_BYTES] = {};

	facts->fp_entry = kw_load(facts->orc_fp_entry);
	facts->null_entry = kw_load(facts->orc_null_entry);
	/* By way of the stack: the context can't be handed to a helper. */
	bpf_probe_read_kernel(header, sizeof(header), (void *)facts->orc_header);
	for (int i = 0; i < KW_ORC_HASH_LEN; i++)
		facts->header[i] = header[i];
	bpf_probe_read_kernel(code, sizeof(code), (void *)facts->function);
	for (int i = 0; i < KW_CODE_BYTES; i++)
		facts->function_code[i] = code[i];
	bpf_probe_read_kernel(code, sizeof(code), (void *)facts->traced);
	for (int i = 0; i < KW_CODE_BYTES; i++)
		facts->traced_code[i] = code[i];
	facts->unwinder = kw_unwinder();
	facts->stack_pages = kw_stack_pages();
	facts->counts_missed =
	    bpf_core_field_exists(struct bpf_link_info, perf_event.kprobe.missed);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
