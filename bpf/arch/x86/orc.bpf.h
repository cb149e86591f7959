/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * orc.bpf.h: ORC lookup: from an address of code to the rule for its caller's frame.
 *
 * Programs read the kernel's own tables, of vmlinux and of every module. For vmlinux, orc_lookup
 * (if kallsyms has it) narrows the search to 256 bytes of text; a binary search does the rest, as
 * __orc_find() does in arch/x86/kernel/unwind_orc.c. A lookup takes as long as the walk of a whole
 * stack, hence happens once per node of the tree.
 */
#ifndef KWALK_X86_ORC_H
#define KWALK_X86_ORC_H

#include "kernel.h"
#include "kwalk.h"
#include "config.bpf.h"
#include "arch/x86/regs.bpf.h"
#include "unwind/load.bpf.h"
#include "unwind/latch.bpf.h"
#include "unwind/text.bpf.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * Layout of a rule, from the lowest bit:
 *   0..11  CFA offset, in words, signed
 *  12..22  offset of the saved BP from its base, in words, signed
 *  23..26  enum kw_cfa
 *  27..28  enum kw_bp
 *  29..30  enum kw_frame
 *  31      signal: the frame that this rule finds was interrupted, not called
 */
/* Base of the CFA. */
enum kw_cfa {
	KW_CFA_UNKNOWN = 0, /* no rule, or one that kwalk cannot follow */
	KW_CFA_END = 1,	    /* outermost frame */
	KW_CFA_SP = 2,
	KW_CFA_BP = 3,
	KW_CFA_SP_DEREF = 4, /* [SP] + offset */
	KW_CFA_BP_DEREF = 5, /* [BP + offset] */
	KW_CFA_R10 = 6,
	KW_CFA_R13 = 7,
	KW_CFA_DI = 8,
	KW_CFA_DX = 9,
};

/* Place of the caller's BP. */
enum kw_bp {
	KW_BP_SAME = 0, /* BP is unchanged */
	KW_BP_CFA = 1,	/* [CFA + offset] */
	KW_BP_BP = 2,	/* [BP + offset] */
};

/* Contents of the stack below the CFA. */
enum kw_frame {
	KW_FRAME_CALL = 0,    /* return address */
	KW_FRAME_REGS = 1,    /* a complete struct pt_regs begins at the CFA */
	KW_FRAME_PARTIAL = 2, /* ip, cs, flags, sp and ss */
};

#define KW_CFA_OFF_BITS 12
#define KW_BP_OFF_BITS	11
#define KW_SEARCH_STEPS 24 /* steps of a binary search: tables have fewer than 2^24 entries */

static __always_inline int kw_rule_cfa_off(__u32 rule)
{
	return ((__s32)(rule << (32 - KW_CFA_OFF_BITS)) >> (32 - KW_CFA_OFF_BITS)) * 8;
}

static __always_inline int kw_rule_bp_off(__u32 rule)
{
	return ((__s32)(rule << (32 - KW_CFA_OFF_BITS - KW_BP_OFF_BITS)) >> (32 - KW_BP_OFF_BITS)) *
	       8;
}

#define kw_rule_cfa(rule)    (((rule) >> 23) & 15)
#define kw_rule_bp(rule)     (((rule) >> 27) & 3)
#define kw_rule_frame(rule)  (((rule) >> 29) & 3)
#define kw_rule_signal(rule) ((rule) >> 31)

static __always_inline __u32 kw_rule_make(__u32 cfa, int cfa_off, __u32 bp, int bp_off, __u32 frame,
					  __u32 signal)
{
	int cfa_words = cfa_off >> 3, bp_words = bp_off >> 3;
	const int cfa_max = 1 << (KW_CFA_OFF_BITS - 1), bp_max = 1 << (KW_BP_OFF_BITS - 1);

	if ((cfa_off | bp_off) & 7 || cfa_words < -cfa_max || cfa_words >= cfa_max ||
	    bp_words < -bp_max || bp_words >= bp_max)
		return KW_CFA_UNKNOWN;
	return (cfa_words & ((1 << KW_CFA_OFF_BITS) - 1)) |
	       (__u32)(bp_words & ((1 << KW_BP_OFF_BITS) - 1)) << KW_CFA_OFF_BITS | cfa << 23 |
	       bp << 27 | frame << 29 | signal << 31;
}

#define KW_RULE_END (KW_CFA_END << 23)

/*
 * Rule for code without ORC (BPF programs and trampolines), which is assumed to push BP right below
 * the return address: orc_fp_entry in unwind_orc.c.
 */
#define kw_rule_fp() kw_rule_make(KW_CFA_BP, 16, KW_BP_CFA, -16, KW_FRAME_CALL, 0)

static __always_inline __u32 kw_orc_cfa(__u32 reg)
{
	/* Four bits per register number, number 0 lowest: enum kw_cfa. */
	const __u64 until_7_0 = 0x4576238900ULL, since_7_1 = 0x54076832900ULL;

	return ((control.orc_reg_sp == 5 ? until_7_0 : since_7_1) >> (reg * 4)) & 15;
}

/*
 * Decode a struct orc_entry, of any layout, to a rule. Global and not inlined, like the search
 * below: the verifier checks it once, not once per frame.
 */
__noinline __u32 kw_orc_decode(__u64 raw)
{
	union {
		__u64 raw;
		struct orc_entry entry;
	} copy = {.raw = raw};
	struct orc_entry *orc = &copy.entry;
	__u32 type, frame, signal, cfa, bp, reg;

	type = BPF_CORE_READ_BITFIELD(orc, type);
	if (__builtin_preserve_field_info(orc->type, BPF_FIELD_RSHIFT_U64) == 64 - 3) {
		/* fb799447ae29 "x86,objtool: Split UNWIND_HINT_EMPTY in two" (6.4) */
		if (type <= 1) /* undefined: the kernel's unwinder ends, too */
			return KW_RULE_END;
		frame = type - 2;
	} else {
		frame = type;
	}
	if (frame > KW_FRAME_PARTIAL)
		return KW_CFA_UNKNOWN;

	if (bpf_core_field_exists(orc->signal))
		signal = BPF_CORE_READ_BITFIELD(orc, signal);
	else
		signal = frame != KW_FRAME_CALL;

	reg = BPF_CORE_READ_BITFIELD(orc, sp_reg);
	if (reg == 0) /* undefined; before 6.4 also the end of the stack */
		return KW_RULE_END;
	cfa = kw_orc_cfa(reg);
	if (cfa == KW_CFA_UNKNOWN)
		return KW_CFA_UNKNOWN;

	reg = BPF_CORE_READ_BITFIELD(orc, bp_reg);
	if (reg == 0)
		bp = KW_BP_SAME;
	else if (reg == control.orc_reg_prev_sp)
		bp = KW_BP_CFA;
	else if (reg == 4)
		bp = KW_BP_BP;
	else
		return KW_CFA_UNKNOWN;
	return kw_rule_make(cfa, orc->sp_offset, bp, orc->bp_offset, frame, signal);
}

/* Binary search of a table of addresses. */
struct kw_search {
	__u64 ip;
	__u64 table;	   /* 32-bit addresses, each relative to its own position */
	__u64 first, last; /* entries that are left */
	__u64 found;	   /* the last entry known to begin at or below ip */
};

static long kw_search_half(__u32 index, struct kw_search *at)
{
	__u64 mid = at->first + ((at->last - at->first) >> 1);
	__u64 place = at->table + mid * 4;

	if (at->first > at->last)
		return 1;
	if (place + (__s32)kw_load(place) <= at->ip) {
		at->found = mid;
		at->first = mid + 1;
	} else if (!mid) {
		return 1;
	} else {
		at->last = mid - 1;
	}
	return 0;
}

/* The rule of vmlinux's code at ip. */
__noinline __u32 kw_rule_vmlinux(__u64 ip)
{
	/* last comes from memory: a bound known to the verifier would make it try every half. */
	struct kw_search at = {.ip = ip, .table = cfg.orc_ip, .last = control.orc_last};
	__u64 slot, pair;

	if (cfg.orc_lookups && kw_in_vmlinux(ip)) {
		slot = (ip - cfg.text_start) >> 8;
		if (slot + 1 >= cfg.orc_lookups)
			return KW_CFA_UNKNOWN;
		pair = kw_load(cfg.orc_lookup + slot * 4);
		at.first = at.found = (__u32)pair;
		at.last = pair >> 32; /* the next block's first entry may cover this block's end */
	}
	/* bpf_loop(): the verifier would follow a plain loop into both halves each time. */
	bpf_loop(KW_SEARCH_STEPS, kw_search_half, &at, 0);
	if (at.found >= cfg.orc_entries)
		return KW_CFA_UNKNOWN;
	return kw_orc_decode(kw_load(cfg.orc + at.found * 6));
}

/* The rule of a module's code at ip. */
static __always_inline __u32 kw_rule_module(__u64 module, __u64 ip)
{
	struct kw_search at = {.ip = ip};
	__u32 entries;

	if (!bpf_core_field_exists(struct module, arch.num_orcs))
		return kw_rule_fp();
	entries = kw_load_field(module, struct module, arch.num_orcs);
	if (!entries)
		return kw_rule_fp();
	at.table = kw_load_field(module, struct module, arch.orc_unwind_ip);
	at.last = entries - 1;
	bpf_loop(KW_SEARCH_STEPS, kw_search_half, &at, 0);
	return kw_orc_decode(
	    kw_load(kw_load_field(module, struct module, arch.orc_unwind) + at.found * 6));
}

/* Result of kw_outside() for code: its source, and in the low half its rule. */
#define KW_TEXT		      (1ULL << 32)
#define KW_FROM(source)	      (KW_TEXT | (__u64)(source) << 33)
#define kw_text_source(found) ((found) >> 33)

/*
 * Look up an address outside of vmlinux's text: KW_FROM(enum kw_source) | rule of the code at place
 * (ip, or the call before it), KW_RULE_END if ip is not in code, KW_CFA_UNKNOWN if it may be.
 */
__noinline __u64 kw_outside(__u64 ip, __u64 place)
{
	__u64 module, original, bpf;

	if (ip < KW_KERNEL_TEXT)
		return KW_RULE_END;
	if (kw_in_init_text(ip))
		return KW_FROM(KW_SOURCE_IMAGE) | kw_rule_vmlinux(place);
	if (ip - cfg.text_start < cfg.image_end - cfg.text_start)
		return KW_RULE_END;
	module = kw_module_of(ip);
	if (module == KW_TREE_UNKNOWN)
		return KW_CFA_UNKNOWN;
	if (module)
		return KW_FROM(KW_SOURCE_MODULE) | kw_rule_module(module, place);
	original = kw_ftrace_original(ip);
	if (original == KW_OPS_UNKNOWN)
		return KW_CFA_UNKNOWN;
	if (original)
		return KW_FROM(KW_SOURCE_ONCE) | kw_rule_vmlinux(original - (ip - place));
	bpf = kw_in_bpf(ip);
	if (bpf == KW_TREE_UNKNOWN)
		return KW_CFA_UNKNOWN;
	if (bpf)
		return KW_FROM(KW_SOURCE_BPF) | kw_rule_fp();
	if (!cfg.mod_tree || !cfg.bpf_tree || !cfg.ftrace_ops_list ||
	    kw_may_be_slot(cfg.insn_slots, ip) || kw_may_be_slot(cfg.optinsn_slots, ip))
		return KW_CFA_UNKNOWN;
	return KW_RULE_END;
}

/* The rule at ip, which is known to be code. */
static __always_inline __u32 kw_place_rule(__u64 ip)
{
	return kw_in_vmlinux(ip) ? kw_rule_vmlinux(ip) : (__u32)kw_outside(ip, ip);
}

#endif /* KWALK_X86_ORC_H */
