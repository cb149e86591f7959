/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* regs.bpf.h: registers and addresses of x86-64. */
#ifndef KWALK_X86_REGS_H
#define KWALK_X86_REGS_H

#include "kernel.h"
#include "unwind/load.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* __START_KERNEL_map: lowest address of code (image, modules, BPF). */
#define KW_KERNEL_TEXT 0xffffffff80000000ULL

#define kw_load_reg(regs, reg) kw_load_field(regs, struct pt_regs, reg)

#define kw_ctx_ip(ctx) ((ctx)->ip)
#define kw_ctx_sp(ctx) ((ctx)->sp)
#define kw_ctx_fp(ctx) ((ctx)->bp)

#define kw_return_sp(ctx) kw_ctx_sp(ctx)

static __always_inline __u64 kw_regs_ip(__u64 regs)
{
	return kw_load_reg(regs, ip);
}

static __always_inline __u64 kw_regs_sp(__u64 regs)
{
	return kw_load_reg(regs, sp);
}

static __always_inline __u64 kw_regs_fp(__u64 regs)
{
	return kw_load_reg(regs, bp);
}

/* user_mode(): interrupted user code ends the stack. */
static __always_inline bool kw_user_regs(__u64 regs)
{
	return kw_load_reg(regs, cs) & 3;
}

/* Return addresses are not signed. */
static __always_inline __u64 kw_code_address(__u64 word)
{
	return word;
}

#endif /* KWALK_X86_REGS_H */
