/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* empty.bpf.c: what a program costs that does nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("kprobe")
int empty_kprobe(void *ctx)
{
	return 0;
}

SEC("fentry/vfs_read")
int empty_fentry(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
