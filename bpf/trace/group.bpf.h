/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * group.bpf.h: groups of a stack's hits, by process, comm, CPU or cgroup (--per).
 */
#ifndef KWALK_GROUP_H
#define KWALK_GROUP_H

#include "kwalk.h"
#include "config.bpf.h"
#include "cct/tree.bpf.h"
#include "trace/number.bpf.h"
#include <bpf/bpf_helpers.h>

#define KW_GROUP_BITS  0xffffff /* bits of a node's ip for the group */
#define KW_GROUP_TRIES 4	/* probes for a free value of these bits, on a collision */

/* Key of a group. */
struct kw_group {
	__u64 value[2]; /* comm, or the id of a cgroup */
	__u32 bits;	/* tgid, CPU, or a hash of value */
};

/* The group of this hit. PIDs have 22 bits (PID_MAX_LIMIT). */
static __always_inline void kw_own_group(struct kw_group *group)
{
	const __u32 per = cfg.per;
	__u64 hash;

	group->value[0] = group->value[1] = 0;
	if (per == KW_PER_CPU) {
		group->bits = bpf_get_smp_processor_id();
		return;
	}
	if (per == KW_PER_CGROUP)
		group->value[0] = bpf_get_current_cgroup_id();
	else
		bpf_get_current_comm(group->value, sizeof(group->value));
	hash = (group->value[0] ^ group->value[1] * 31) * 0x9e3779b97f4a7c15ULL;
	if (per == KW_PER_NUMBER) {
		group->bits = kw_process_number();
		if (group->bits == KW_NO_NUMBER) {
			group->bits = KW_NUMBERLESS | hash >> 42;
			group->value[1] |= KW_NUMBERLESS_NAME;
		}
		return;
	}
	group->bits = per == KW_PER_PID ? bpf_get_current_pid_tgid() >> 32 : hash >> 40;
}

/* Whether bits alone identify the group. */
static __always_inline bool kw_bits_tell(const struct kw_group *group)
{
	const __u32 per = cfg.per;

	return per == KW_PER_PID || per == KW_PER_CPU ||
	       (per == KW_PER_NUMBER && !(group->bits & KW_NUMBERLESS));
}

static __always_inline bool kw_is_group(const struct kw_node *node, const struct kw_group *group)
{
	if (kw_bits_tell(group))
		return true;
	return node->value[0] == group->value[0] && node->value[1] == group->value[1];
}

/* The node under leaf for the group of this hit, or leaf itself if the tree is full. */
static __always_inline __u32 kw_of_group(void *nodes, __u32 leaf)
{
	__u32 at = kw_at(nodes, leaf)->group, i;
	struct kw_node *node = kw_at(nodes, at);
	struct kw_group group;
	__u64 ip;

	kw_own_group(&group);
	if (at && node->ip == (KW_NO_ADDRESS | group.bits) && kw_is_group(node, &group))
		return at;
	for (i = 0; i < KW_GROUP_TRIES; i++) {
		ip = KW_NO_ADDRESS | (group.bits + i & KW_GROUP_BITS);
		at = kw_find(leaf, ip);
		if (!at) {
			at = kw_take(leaf, ip);
			if (!at)
				return leaf;
			node = kw_at(nodes, at);
			node->kind = KW_NODE_GROUP;
			node->value[0] = group.value[0];
			node->value[1] = group.value[1];
			kw_link(at);
			break;
		}
		if (kw_is_group(kw_at(nodes, at), &group))
			break;
	}
	if (i == KW_GROUP_TRIES)
		return leaf;
	kw_at(nodes, leaf)->group = at;
	return at;
}

#endif /* KWALK_GROUP_H */
