/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* regs.bpf.h: registers and addresses of arm64. */
#ifndef KWALK_ARM64_REGS_H
#define KWALK_ARM64_REGS_H

#include "kernel.h"
#include "config.bpf.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KW_REG_FP 29
#define KW_REG_LR 30

#define kw_load_reg(at, reg) kw_load_field(at, struct pt_regs, reg)

#define kw_ctx_ip(ctx) ((ctx)->pc)
#define kw_ctx_sp(ctx) ((ctx)->sp)
#define kw_ctx_fp(ctx) ((ctx)->regs[KW_REG_FP])

/* return_to_handler() (kprobe.multi) saves FP and no SP: arch/arm64/kernel/entry-ftrace.S. */
#define kw_return_sp(ctx) kw_ctx_fp(ctx)

static __always_inline __u64 kw_regs_ip(__u64 regs)
{
	return kw_load_reg(regs, pc);
}

static __always_inline __u64 kw_regs_sp(__u64 regs)
{
	return kw_load_reg(regs, sp);
}

static __always_inline __u64 kw_regs_fp(__u64 regs)
{
	return kw_load_reg(regs, regs[KW_REG_FP]);
}

/* user_mode(): PSR_MODE_EL0t, of 32-bit programs as well. */
static __always_inline bool kw_user_regs(__u64 regs)
{
	return !(kw_load_reg(regs, pstate) & 15);
}

/*
 * Return addresses on the stack are signed where the CPU has pointer authentication: the signature
 * stands in bits that are set in every kernel address. ptrauth_strip_kernel_insn_pac().
 */
static __always_inline __u64 kw_code_address(__u64 word)
{
	return word | cfg.code_mask;
}

#endif /* KWALK_ARM64_REGS_H */
