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
#include "module.bpf.h"
#include "rule.bpf.h"
#include "step.bpf.h"
#include "entry.bpf.h"
#include "walk.bpf.h"
#include "event.bpf.h"
#include "helper.bpf.h"

/* A walk that could not know ends as the kernel's own answer to the same event. */
static __always_inline void kw_fallback(void *ctx, struct kw_scratch *sc)
{
	__s64 bytes = bpf_get_stack(ctx, sc->frames, KW_MAX_FRAMES * sizeof(__u64), 0);

	sc->event.nr = bytes > 0 ? bytes / sizeof(__u64) : 0;
	if (sc->event.nr >= KW_MAX_FRAMES)
		sc->event.flags |= KW_EV_TRUNCATED;
}

static __always_inline int kw_hit(void *ctx, bool fentry)
{
	struct kw_state state = {};
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

	event = &sc->event;
	event->time_ns = bpf_ktime_get_ns();
	ids = bpf_get_current_pid_tgid();
	event->tgid = ids >> 32;
	event->pid = ids;
	event->cpu = bpf_get_smp_processor_id();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->flags = 0;
	event->nr = 0;
	event->stack_id = 0;

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
		int missed;

		if (fentry) {
			sc->ctx = (__u64)ctx; /* through memory: a plain number to the verifier */
			missed = kw_entry_fentry(ctx, *(volatile __u64 *)&sc->ctx, &state);
		} else {
			missed = kw_entry_regs(ctx, &state);
		}
		event->caller = 0;
		if (missed) {
			event->flags |= KW_EV_FALLBACK;
		} else {
			event->caller = kw_load(state.sp);
			event->nr = kw_walk(&state, sc->frames, &event->flags);
		}
		if (event->flags & KW_EV_FALLBACK) {
			kw_fallback(ctx, sc);
			if (!event->nr) {
				c->lost_efault++;
				return 0;
			}
		}
	}
	kw_submit(c, event);
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

/* Run once by user space: what the running kernel is like, and what its tables look like. */
SEC("syscall")
int kw_facts(struct kw_facts *facts)
{
	__u8 header[KW_ORC_HASH_LEN] = {};

	facts->fp_entry = kw_load(facts->orc_fp_entry);
	facts->null_entry = kw_load(facts->orc_null_entry);
	bpf_probe_read_kernel(header, sizeof(header), (void *)facts->orc_header);
	for (int i = 0; i < KW_ORC_HASH_LEN; i++)
		facts->header[i] = header[i];
	facts->unwinder = kw_unwinder();
	facts->counts_missed =
	    bpf_core_field_exists(struct bpf_link_info, perf_event.kprobe.missed);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
