/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * facts.bpf.h: programs that user space runs before attaching, to learn about the kernel.
 */
#ifndef KWALK_FACTS_H
#define KWALK_FACTS_H

#include "kernel.h"
#include "kwalk.h"
#include "unwind/load.bpf.h"
#include KW_ARCH_STEP
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Pages of the current task's stack, without the guard page; 0 without CONFIG_VMAP_STACK. */
static __always_inline __u32 kw_stack_pages(void)
{
	__u64 area = 0;

	if (bpf_core_field_exists(struct task_struct, stack_vm_area))
		area = kw_load_field(bpf_get_current_task(), struct task_struct, stack_vm_area);
	return area ? kw_load_field(area, struct vm_struct, nr_pages) : 0;
}

/* Report the kernel's unwinder and features, and bytes of its tables. */
SEC("syscall")
int kw_facts(struct kw_facts *facts)
{
	__u8 header[KW_ORC_HASH_LEN] = {};

	facts->fp_entry = kw_load(facts->orc_fp_entry);
	facts->null_entry = kw_load(facts->orc_null_entry);
	/* Through the stack: helpers do not write to the context. */
	bpf_probe_read_kernel(header, sizeof(header), (void *)facts->orc_header);
	for (int i = 0; i < KW_ORC_HASH_LEN; i++)
		facts->header[i] = header[i];
	facts->disarmed = (__u8)kw_load(facts->kprobes_disarmed);
	facts->unwinder = kw_unwinder();
	facts->stack_pages = kw_stack_pages();
	facts->counts_missed =
	    bpf_core_field_exists(struct bpf_link_info, perf_event.kprobe.missed);
	facts->window = bpf_core_type_id_kernel(KW_WINDOW_TYPE);
	facts->task_stack = bpf_core_field_offset(struct task_struct, stack);
	kw_record_facts(facts);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_CALLS_BYTES);
} calls SEC(".maps");

/* Copy part of the list behind available_filter_functions, whose names take seconds to read. */
SEC("syscall")
int kw_calls(struct kw_calls *ask)
{
	__u32 zero = 0, size = bpf_core_type_size(struct dyn_ftrace), all, bytes;
	void *room = bpf_map_lookup_elem(&calls, &zero);
	__u64 page = ask->page, records;

	ask->nr = 0;
	if (!room || !size)
		return -1;
	if (ask->first)
		page = kw_load(page);
	ask->first = 0;
	ask->size = size;
	records = kw_load_field(page, struct ftrace_page, records);
	all = kw_load_field(page, struct ftrace_page, index);
	if (page && ask->from < all) {
		bytes = (all - ask->from) * size;
		if (bytes > KW_CALLS_BYTES)
			bytes = KW_CALLS_BYTES;
		if (bpf_probe_read_kernel(room, bytes, (void *)(records + ask->from * size)))
			return -1;
		ask->nr = bytes / size;
		ask->from += ask->nr;
	}
	if (ask->from >= all) {
		page = page ? kw_load_field(page, struct ftrace_page, next) : 0;
		ask->from = 0;
	}
	ask->page = page;
	return 0;
}

/* Copy the code of a function. */
SEC("syscall")
int kw_code(struct kw_code *ask)
{
	__u32 zero = 0, size = ask->size;
	void *room = bpf_map_lookup_elem(&calls, &zero);

	/* One comparison of size: of two, clang 19 makes one that the verifier does not follow. */
	if (!room || size > KW_CALLS_BYTES)
		return -1;
	return bpf_probe_read_kernel(room, size, (void *)ask->address);
}

/* Iterate over loaded programs: where the kernel counts that each is running. */
SEC("iter/bpf_prog")
int kw_actives(struct bpf_iter__bpf_prog *ctx)
{
	struct bpf_prog *prog = ctx->prog;
	struct kw_active found = {};
	__u64 aux;

	if (!prog)
		return 0; /* the end */
	aux = kw_load_field((__u64)prog, struct bpf_prog, aux);
	found.active = kw_load_field((__u64)prog, struct bpf_prog, active);
	found.id = kw_load_field(aux, struct bpf_prog_aux, id);
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

#endif /* KWALK_FACTS_H */
