// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * empty.bpf.c: programs that return at once.
 *
 * They show the cost of being called at all, and with the kernel's statistics of BPF programs
 * enabled they count a function's calls (src/kwalk/bench/empty.py). Nothing in them depends on
 * the kernel or the processor: one object serves all.
 */
#include "types.h"
#include <bpf/bpf_helpers.h>

SEC("kprobe")
int kw_empty_kprobe(void *ctx)
{
	return 0;
}

SEC("fentry")
int kw_empty_fentry(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
