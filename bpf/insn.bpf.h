/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * insn.bpf.h: BPF assembly, and the same in plain C for tests/host, which runs this code in a
 * process. No other file tests for the target.
 */
#ifndef KWALK_INSN_H
#define KWALK_INSN_H

#include "kwalk.h"

#ifdef __bpf__

/*
 * Assignments that the compiler can neither merge nor repeat: the loops of the walk need a register
 * of their own for each variable.
 */
#define kw_move(to, from)  asm volatile("%0 = %1" : "=r"(to) : "r"(from))
#define kw_advance(to, by) asm volatile("%0 += %1" : "+r"(to) : "r"((__u64)(by)))

/* child = nodes + (node->hint & mask) */
#define kw_hinted(child, node, nodes, mask)                                                        \
	asm volatile("%0 = *(u32 *)(%1 + %4)\n\t%0 &= %2\n\t%0 += %3"                              \
		     : "=&r"(child)                                                                \
		     : "r"(node), "r"(mask), "r"(nodes),                                           \
		       "i"(__builtin_offsetof(struct kw_node, hint)))

/* R10: the program's frame pointer. */
#define kw_own_frame(frame) asm volatile("%0 = r10" : "=r"(frame))

/* Go on in another program, which returns to the kernel; falls through if the slot is empty. */
#define kw_tail_call(ctx, map, slot) bpf_tail_call(ctx, map, slot)

/* A member of a structure in kernel memory, by a plain load: 0 after a fault. */
#define kw_member(pointer, member) ((pointer)->member)

#else

#define kw_move(to, from)		    ((to) = (from))
#define kw_advance(to, by)		    ((to) += (by))
#define kw_hinted(child, node, nodes, mask) ((child) = (nodes) + ((node)->hint & (mask)))
#define kw_own_frame(frame)		    ((frame) = host_own_frame())
#define kw_tail_call(ctx, map, slot)                                                               \
	do {                                                                                       \
		int result;                                                                        \
                                                                                                   \
		if (host_tail_call(ctx, slot, &result))                                            \
			return result;                                                             \
	} while (0)
#define kw_member(pointer, member)                                                                 \
	((__typeof__((pointer)->member))host_load(                                                 \
	    (__u64)(pointer) + __builtin_offsetof(__typeof__(*(pointer)), member)))

#endif

#endif /* KWALK_INSN_H */
