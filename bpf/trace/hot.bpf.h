/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * hot.bpf.h: the entry program's side of generated programs for hot stacks (src/kwalk/hot/).
 *
 * The map hot has a generated program, once user space has made one, and the entry program itself.
 * The entry program counts a hit and tail-calls the generated program, which compares the stack
 * with the stacks that it was made for. It counts a known one by itself, or returns here with the
 * node where the stack ends; all other hits return here to be walked. A tail call to an empty slot
 * falls through.
 */
#ifndef KWALK_HOT_H
#define KWALK_HOT_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "insn.bpf.h"
#include "cct/tree.bpf.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, KW_HOT_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} hot SEC(".maps");

/* Nodes where stacks end, by CPU and number of the stack; 0: the CPU's tree does not have it yet.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, KW_HOT_LEAVES * sizeof(__u32));
} leaves SEC(".maps");

#endif /* KWALK_HOT_H */
