/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* As libbpf's header of this name; the answers are the test's. */
#ifndef HOST_BPF_CORE_READ_H
#define HOST_BPF_CORE_READ_H

#include "../host.h"

#define bpf_core_field_offset(...)    ((__u32)host_core(HOST_OFFSET, __VA_ARGS__))
#define bpf_core_field_exists(...)    ((int)host_core(HOST_EXISTS, __VA_ARGS__))
#define bpf_core_type_size(type)      ((__u32)host_core(HOST_TYPE_SIZE, type))
#define bpf_core_type_exists(type)    ((int)host_core(HOST_TYPE_EXISTS, type))
#define bpf_core_type_id_kernel(type) 0
#define bpf_core_enum_value(...)      ((__u64)host_core(HOST_ENUM_VALUE, __VA_ARGS__))

#define BPF_FIELD_RSHIFT_U64			   5
#define __builtin_preserve_field_info(field, what) ((__u32)host_core(HOST_SHIFT, field))

#define BPF_CORE_READ_BITFIELD(structure, field)                                                   \
	({                                                                                         \
		__u64 words = host_core(HOST_BITFIELD, structure->field);                          \
		(*(const __u64 *)(structure) >> (words & 255)) & ((1ULL << (words >> 8)) - 1);     \
	})

#endif /* HOST_BPF_CORE_READ_H */
