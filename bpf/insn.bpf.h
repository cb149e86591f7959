/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * insn.bpf.h: what is written in BPF's own instructions, and what only means something in BPF.
 *
 * Each has its equal in plain C, for tests that run this code as a part of a process: nothing else
 * here knows of them.
 */
#ifndef KWALK_INSN_H
#define KWALK_INSN_H

#include "kwalk.h"

#ifdef __bpf__

/*
 * The compiler is not to take one variable for another, nor to compute again what it has: in the
 * loops of the walk each register is wanted, and each instruction counts.
 */
#define kw_move(to, from)  asm volatile("%0 = %1" : "=r"(to) : "r"(from))
#define kw_advance(to, by) asm volatile("%0 += %1" : "+r"(to) : "r"((__u64)(by)))

/* child = nodes + (node->hint & mask) */
#define kw_hinted(child, node, nodes, mask)                                                        \
	asm volatile("%0 = *(u32 *)(%1 + %4)\n\t%0 &= %2\n\t%0 += %3"                              \
		     : "=&r"(child)                                                                \
		     : "r"(node), "r"(mask), "r"(nodes),                                           \
		       "i"(__builtin_offsetof(struct kw_node, hint)))

/* The frame of the program itself. */
#define kw_own_frame(frame) asm volatile("%0 = r10" : "=r"(frame))

/* Of a structure in the kernel's memory, 0 where there is none: the load has an exception table
 * entry. */
#define kw_member(pointer, member) ((pointer)->member)

#else

#define kw_move(to, from)		    ((to) = (from))
#define kw_advance(to, by)		    ((to) += (by))
#define kw_hinted(child, node, nodes, mask) ((child) = (nodes) + ((node)->hint & (mask)))
#define kw_own_frame(frame)		    ((frame) = host_own_frame())
#define kw_member(pointer, member)                                                                 \
	((__typeof__((pointer)->member))host_load(                                                 \
	    (__u64)(pointer) + __builtin_offsetof(__typeof__(*(pointer)), member)))

#endif

#endif /* KWALK_INSN_H */
