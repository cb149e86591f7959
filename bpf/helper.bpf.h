/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * helper.bpf.h: the helper method: bpf_get_stackid() into one of two maps.
 *
 * User space turns control.active_map and waits until no program can still be using the
 * other map; only then is that one read and cleared. So an id is never given
 * out again while a record names it.
 */
#ifndef KWALK_HELPER_H
#define KWALK_HELPER_H

struct kw_stack_map {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_MAX_FRAMES * sizeof(__u64));
};

struct kw_stack_map stacks_a SEC(".maps");
struct kw_stack_map stacks_b SEC(".maps");

/* Updating a map in a map waits for running programs; that is all this one is for. */
struct kw_barrier_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct kw_barrier_inner barrier_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct kw_barrier_inner);
} barrier SEC(".maps") = {.values = {&barrier_inner}};

static __always_inline __s64 kw_helper(void *ctx, struct kw_event *event)
{
	if (*(volatile __u32 *)&control.active_map) {
		event->flags |= KW_EV_MAP;
		return bpf_get_stackid(ctx, &stacks_b, 0);
	}
	return bpf_get_stackid(ctx, &stacks_a, 0);
}

#endif /* KWALK_HELPER_H */
