/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* types.h: fixed-width integers and bool; libbpf's headers need them included first. */
#ifndef KWALK_TYPES_H
#define KWALK_TYPES_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define NULL  ((void *)0)
#define true  1
#define false 0

#endif /* KWALK_TYPES_H */
