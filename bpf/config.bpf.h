/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* config.bpf.h: configuration (constant) and control (mutable), both written by user space. */
#ifndef KWALK_CONFIG_H
#define KWALK_CONFIG_H

#include "kwalk.h"
#include <bpf/bpf_helpers.h>

/* Each has a section of its own, hence begins at offset 0 of a map. */
const volatile struct kw_config cfg SEC(".rodata.config") = {};
struct kw_control control SEC(".data.control") = {};

#endif /* KWALK_CONFIG_H */
