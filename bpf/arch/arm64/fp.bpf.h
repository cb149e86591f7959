/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* fp.bpf.h: frame records of arm64, by the rules of arch/arm64/kernel/stacktrace.c. */
#ifndef KWALK_ARM64_FP_H
#define KWALK_ARM64_FP_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/arm64/regs.bpf.h"
#include "cct/tree.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/state.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_RECORD_BYTES 16
#define KW_META_REGS	2 /* FRAME_META_TYPE_PT_REGS */

/* Whether the record in struct pt_regs has a type. */
static __always_inline bool kw_has_meta(void)
{
	return bpf_core_field_exists(struct pt_regs___meta, stackframe);
}

/* Distance from a struct pt_regs to the frame record in it. */
static __always_inline __u64 kw_regs_record(void)
{
	return kw_has_meta() ? bpf_core_field_offset(struct pt_regs___meta, stackframe)
			     : bpf_core_field_offset(struct pt_regs___pair, stackframe);
}

/* Distance from the record that ends a task's stack to the stack's end. */
static __always_inline __u64 kw_last_record_bytes(void)
{
	return bpf_core_type_size(struct pt_regs) - kw_regs_record();
}

/*
 * The record that ends a task's stack: the one in the struct pt_regs there. task_pt_regs(). Kernel
 * threads and idle tasks have it as well.
 */
static __always_inline __u64 kw_last_record(void)
{
	return kw_task_stack() + kw_stack_size() - kw_last_record_bytes();
}

static __always_inline bool kw_last_frame(const struct kw_state *s)
{
	return s->bp == kw_last_record();
}

static __always_inline bool kw_in_entry_text(__u64 ip)
{
	return ip - cfg.entry_start < cfg.entry_end - cfg.entry_start;
}

/*
 * The struct pt_regs that an exception in the kernel left around the record of entry code, or 0.
 * Until 6.12 only entry code tells it from other records, and that it has copies of two members.
 */
static __always_inline __u64 kw_regs_around(__u64 ip, __u64 record, __u64 fp, __u64 lr)
{
	__u64 regs = record - kw_regs_record();

	if (kw_has_meta())
		return !fp && !lr && kw_load(record + KW_RECORD_BYTES) == KW_META_REGS ? regs : 0;
	if (!kw_in_entry_text(ip) || kw_regs_fp(regs) != fp || kw_regs_ip(regs) != lr)
		return 0;
	return regs;
}

/*
 * One step by frame records: [FP] is the caller's FP, [FP + 8] the return address.
 * kunwind_next_frame_record(), kunwind_next_regs_pc(). From the last record it leads to an address
 * of 0, where kw_settle() ends the walk.
 */
__noinline int kw_step_fp_any(struct kw_state *s)
{
	__u64 record, fp, lr;

	if (!s)
		return KW_STEP_UNKNOWN;
	record = s->bp;
	if (record & 7 || (record - s->sp >= kw_stack_size() && !kw_on_task_stack(s->sp, record)))
		return KW_STEP_UNKNOWN; /* FP holds something else */
	fp = kw_load(record);
	lr = kw_load(record + 8);
	s->regs = kw_regs_around(s->ip, record, fp, lr);
	if (s->regs) {
		s->ip = kw_regs_ip(s->regs);
		s->bp = kw_regs_fp(s->regs);
		s->sp = kw_regs_sp(s->regs);
		return KW_STEP_FRAME;
	}
	s->ip = kw_code_address(lr);
	s->bp = fp;
	s->sp = record + KW_RECORD_BYTES;
	return KW_STEP_FRAME;
}

/* A start that returns KW_STEP_FRAME has it: from LR, or from a record that it has read. */
static __always_inline __u64 kw_first_return(const struct kw_walk *w, bool typed)
{
	return w->s.ip;
}

static __always_inline void kw_record_facts(struct kw_facts *facts)
{
	facts->regs_record = kw_regs_record();
	facts->last_record = kw_last_record_bytes();
	facts->record_types = kw_has_meta();
}

#endif /* KWALK_ARM64_FP_H */
