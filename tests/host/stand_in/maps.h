/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/* maps.h: what helpers.c and program.c know of each other. */
#ifndef HOST_MAPS_H
#define HOST_MAPS_H

#include "host.h"

/* A map's definition, and its memory once host_map_make() was called. */
struct host_map {
	const char *name;
	void *definition;
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u8 *memory;
	__u32 used; /* of a hash: keys that there are */
};

struct host_symbol {
	const char *name;
	void *at;
	__u64 size;
};

struct host_program {
	const char *name;
	int (*run)(void *ctx);
};

extern struct host_map host_maps[];
extern const struct host_symbol host_symbols[];
extern const struct host_program host_programs[];

struct host_cpu *host_here(void);

#endif /* HOST_MAPS_H */
