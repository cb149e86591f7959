/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* config.bpf.h: what user space tells the programs before they run, and while they do. */
#ifndef KWALK_CONFIG_H
#define KWALK_CONFIG_H

#include "kwalk.h"
#include <bpf/bpf_helpers.h>

/* Sections of their own, so that user space finds each at offset 0 of a map. */
const volatile struct kw_config cfg SEC(".rodata.config") = {};
struct kw_control control SEC(".data.control") = {};

#endif /* KWALK_CONFIG_H */
