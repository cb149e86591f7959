/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* kernel.h: kernel types of arm64. */
#ifndef KWALK_ARM64_KERNEL_H
#define KWALK_ARM64_KERNEL_H

#include "types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* arch/arm64/include/asm/ptrace.h */
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};

/* The frame record in it until 6.12: the interrupted code's, or zeros. */
struct pt_regs___pair {
	__u64 stackframe[2];
};

/*
 * arch/arm64/include/asm/stacktrace/frame.h; c2c6b27b5aa1 "arm64: stacktrace: unwind exception
 * boundaries" (6.13): a record of zeros, with a type behind it.
 */
struct frame_record {
	__u64 fp;
	__u64 lr;
};

struct frame_record_meta {
	struct frame_record record;
	__u64 type;
};

struct pt_regs___meta {
	struct frame_record_meta stackframe;
};

/* arch/arm64/include/asm/module.h */
struct mod_arch_specific {
};

/* kernel/trace/trace.c: 32 KiB */
struct ftrace_stack {
	unsigned long calls[1];
};

struct ftrace_stacks {
	struct ftrace_stack stacks[1];
};

#pragma clang attribute pop

#define KW_WORD_TYPE   struct pt_regs
#define KW_WORD_MEMBER regs[0]
#define KW_WINDOW_TYPE struct ftrace_stacks

#define KW_KRETPROBE_LIST 1

#endif /* KWALK_ARM64_KERNEL_H */
