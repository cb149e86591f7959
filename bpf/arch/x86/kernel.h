/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* kernel.h: kernel types of x86-64. */
#ifndef KWALK_X86_KERNEL_H
#define KWALK_X86_KERNEL_H

#include "types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long r15, r14, r13, r12;
	unsigned long bp, bx;
	unsigned long r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long flags;
	unsigned long sp;
	unsigned long ss;
};

/* arch/x86/include/asm/orc_types.h; "end" until 6.3, "signal" since 6.3, type: 3 since 6.4 */
struct orc_entry {
	__s16 sp_offset;
	__s16 bp_offset;
	unsigned int sp_reg : 4;
	unsigned int bp_reg : 4;
	unsigned int type : 3;
	unsigned int signal : 1;
};

/* arch/x86/include/asm/unwind.h: prev_regs with ORC, next_bp with frame pointers */
struct unwind_state {
	struct pt_regs *prev_regs;
	unsigned long *next_bp;
};

/* arch/x86/include/asm/module.h */
struct mod_arch_specific {
	unsigned int num_orcs;
	int *orc_unwind_ip;
	struct orc_entry *orc_unwind;
};

/* arch/x86/include/asm/processor.h */
struct irq_stack {
	char stack[1];
};

#pragma clang attribute pop

#define KW_WORD_TYPE   struct pt_regs
#define KW_WORD_MEMBER r15
#define KW_WINDOW_TYPE struct irq_stack

#define KW_KRETPROBE_LIST 0 /* HAVE_RETHOOK */

#endif /* KWALK_X86_KERNEL_H */
