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
#include "tree.bpf.h"
#include "text.bpf.h"
#include "rule.bpf.h"
#include "hook.bpf.h"
#include "step.bpf.h"
#include "entry.bpf.h"
#include "walk.bpf.h"
#include "event.bpf.h"
#include "verify.bpf.h"
#include "helper.bpf.h"

/* So many differences of a CPU are shown with both sides. */
#define KW_SHOWN_DIFFERENCES 8

/*
 * Walk, compare where that is asked for, and return the record to send: the walk's, or the
 * kernel's where the walk could not know or is not to be trusted. NULL if there is neither.
 */
static __always_inline struct kw_record *kw_manual(void *ctx, struct kw_counters *c,
						   struct kw_scratch *sc)
{
	struct kw_event *event = &sc->walk.event;
	struct kw_state state = {};
	int step;

	sc->ctx = (__u64)ctx; /* through memory: a plain number to the verifier */
	if (cfg.fentry)
		step = kw_start_fentry(&state, ctx, *(volatile __u64 *)&sc->ctx);
	else
		step = kw_start_kprobe(&state, ctx, *(volatile __u64 *)&sc->ctx);
	if (state.jumped)
		event->flags |= KW_EV_JUMPED;
	event->nr = kw_walk(&state, step, sc->walk.frames, &event->flags);
	event->caller = event->nr > 1 ? sc->walk.frames[1] : 0;
	if (cfg.self_check && *(volatile __u32 *)&control.distrust)
		event->flags |= KW_EV_FALLBACK;

	if (event->flags & KW_EV_FALLBACK)
		return kw_ask_kernel(ctx, sc) ? &sc->kernel : NULL;
	if (kw_must_verify(c) && kw_ask_kernel(ctx, sc) && kw_verify(c, sc) == KW_DIFFERENT) {
		event->flags |= KW_EV_DIFFERS;
		if (cfg.self_check) {
			control.distrust = 1;
			sc->kernel.event.flags |= KW_EV_DIFFERS | KW_EV_FALLBACK;
			return &sc->kernel;
		}
	}
	return &sc->walk;
}

/* The helper's stack is cut to begin at FUNC; where it lacks FUNC, at its caller. */
static __always_inline void kw_find_caller(void *ctx, struct kw_scratch *sc)
{
	struct kw_state state = {};

	sc->walk.event.caller = 0;
	if (!cfg.fentry)
		return;
	sc->ctx = (__u64)ctx;
	kw_start_fentry(&state, ctx, *(volatile __u64 *)&sc->ctx);
	if (!state.jumped)
		return;
	if (kw_may_be_hook(state.ip))
		state.ip = kw_recover(state.ip, state.sp - 8);
	sc->walk.event.caller = state.ip;
	sc->walk.event.flags |= KW_EV_JUMPED;
}

static __always_inline int kw_hit(void *ctx)
{
	struct kw_record *record;
	struct kw_event *event;
	struct kw_counters *c;
	struct kw_scratch *sc;
	__u32 zero = 0;
	__u64 ids;

	c = bpf_map_lookup_elem(&counters, &zero);
	sc = bpf_map_lookup_elem(&scratch, &zero);
	if (!c || !sc)
		return 0; /* cannot be: both have this one element */
	c->hits++;

	record = &sc->walk;
	event = &sc->walk.event;
	event->time_ns = bpf_ktime_get_ns();
	ids = bpf_get_current_pid_tgid();
	event->tgid = ids >> 32;
	event->pid = ids;
	event->cpu = bpf_get_smp_processor_id();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->flags = 0;
	event->nr = 0;
	event->stack_id = 0;

	if (cfg.method == KW_HELPER)
		kw_find_caller(ctx, sc);
	if (cfg.method & KW_HELPER) {
		__s64 id = kw_helper(ctx, event);

		event->stack_id = id;
		if (id < 0) {
			if (cfg.method == KW_HELPER) {
				kw_count_helper_loss(c, id);
				return 0;
			}
			event->flags |= KW_EV_NO_ID;
		}
	}
	if (cfg.method & KW_MANUAL) {
		record = kw_manual(ctx, c, sc);
		if (!record) {
			c->lost_efault++;
			return 0;
		}
	}
	kw_submit(c, &record->event);
	if (record->event.flags & KW_EV_DIFFERS && c->mismatches <= KW_SHOWN_DIFFERENCES)
		kw_submit_other(record == &sc->walk ? &sc->kernel.event : &sc->walk.event);
	return 0;
}

SEC("kprobe")
int kw_kprobe(struct pt_regs *ctx)
{
	return kw_hit(ctx);
}

SEC("fentry")
int kw_fentry(void *ctx)
{
	return kw_hit(ctx);
}

SEC("fexit")
int kw_fexit(void *ctx)
{
	return kw_hit(ctx);
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
