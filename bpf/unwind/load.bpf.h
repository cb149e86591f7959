/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * load.bpf.h: fault-safe loads of 64-bit words of kernel memory.
 *
 * With bpf_rdonly_cast() a load is a plain instruction with an exception table entry; without it
 * (before 6.2) it is a call of bpf_probe_read_kernel(). A fault reads as 0, which callers must not
 * take for a frame.
 */
#ifndef KWALK_LOAD_H
#define KWALK_LOAD_H

#include "kernel.h"
#include "config.bpf.h"
#include "insn.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#define kw_cast(addr, type) ((type *)bpf_rdonly_cast((void *)(addr), bpf_core_type_id_kernel(type)))

/* Load a word. typed: the kernel has bpf_rdonly_cast(); loops have one copy for each value. */
static __always_inline __u64 kw_load_by(bool typed, __u64 addr)
{
	__u64 value; /* a failing read clears it */

	if (typed)
		return kw_member(kw_cast(addr, KW_WORD_TYPE), KW_WORD_MEMBER);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)addr);
	return value;
}

static __always_inline __u64 kw_load(__u64 addr)
{
	return cfg.typed_loads ? kw_load_by(true, addr) : kw_load_by(false, addr);
}

/* Load an int, of whose neighbors nothing is known. */
static __always_inline __u32 kw_load_int(__u64 addr)
{
	__u32 value;

	if (cfg.typed_loads)
		return kw_member(kw_cast(addr, struct upid), nr);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)addr);
	return value;
}

#define kw_load_field(base, type, field) kw_load((base) + bpf_core_field_offset(type, field))

#endif /* KWALK_LOAD_H */
