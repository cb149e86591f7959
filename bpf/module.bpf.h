/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * module.bpf.h: code that is not in vmlinux: which module it belongs to, if any.
 *
 * The kernel's list of modules is read as it stands (mod_find() in kernel/module/
 * tree_lookup.c answers from a tree); programs run under RCU, so that no module's memory
 * goes away meanwhile. Nothing about a module is remembered from one event to the next:
 * it may be unloaded, and another loaded to its place.
 */
#ifndef KWALK_MODULE_H
#define KWALK_MODULE_H

#define KW_MAX_MODULES 1024

struct kw_module_search {
	__u64 ip;
	__u64 at;    /* list node */
	__u64 found; /* struct module */
};

#define kw_load_field(base, type, field) kw_load((base) + bpf_core_field_offset(type, field))

static __always_inline bool kw_in_module(__u64 module, __u64 ip)
{
	__u64 base, size;

	if (bpf_core_field_exists(struct module, mem)) {
		base = kw_load_field(module, struct module, mem[0].base);
		size = kw_load_field(module, struct module, mem[0].size);
	} else {
		base = kw_load_field(module, struct module___before_6_4, core_layout.base);
		size = kw_load_field(module, struct module___before_6_4, core_layout.text_size);
	}
	return ip - base < (__u32)size;
}

static long kw_module_next(__u32 index, struct kw_module_search *s)
{
	__u64 module;

	s->at = kw_load(s->at); /* list_head.next */
	if (!s->at || s->at == cfg.modules)
		return 1;
	module = s->at - bpf_core_field_offset(struct module, list);
	if (!kw_in_module(module, s->ip))
		return 0;
	s->found = module;
	return 1;
}

/* The struct module whose text holds ip, or 0. */
__noinline __u64 kw_module_of(__u64 ip)
{
	struct kw_module_search search = {.ip = ip, .at = cfg.modules};

	if (cfg.modules)
		bpf_loop(KW_MAX_MODULES, kw_module_next, &search, 0);
	return search.found;
}

#endif /* KWALK_MODULE_H */
