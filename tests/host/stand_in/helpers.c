// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * helpers.c: BPF's helpers and maps, the kernel's memory, and a CPU to run on, for a test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#undef NULL
#include "maps.h"

enum {
	ARRAY = 2,
	PERCPU_HASH = 5,
	PERCPU_ARRAY = 6,
	STACK_TRACE = 7,
	RINGBUF = 27,
};

#define PAGE 4096ULL

static __thread struct host_cpu *here;

struct host_cpu *host_here(void)
{
	return here;
}

/* The test's mistake: there is nobody to report it to. */
static void *give_up(const char *what, const char *name)
{
	fprintf(stderr, "tests/host: %s: %s\n", what, name);
	abort();
}

/* Time passes: others may do something. */

__u64 host_barriers;
static void (*paused)(void);

void host_set_pause(void (*function)(void))
{
	paused = function;
}

#ifndef host_tick
void host_tick(void)
{
	if (here && here->tick++ == here->pause && paused)
		paused();
}
#endif

/* The kernel's types. */

static __s64 (*answer)(int question, const char *about);
static __u32 layout;

/* From now on places in the code ask again. */
void host_set_layout(__s64 (*function)(int question, const char *about))
{
	answer = function;
	layout++;
}

__s64 host_ask(struct host_site *site)
{
	if (site->layout != layout) {
		site->answer = answer(site->question, site->about);
		site->layout = layout;
	}
	return site->answer;
}

/* The kernel's memory. */

struct range {
	__u64 start;
	__u64 size;
	__u8 *memory;
};

static const struct range *ranges;
static __u32 ranges_nr;

/* In order of their addresses. */
void host_set_memory(const struct range *all, __u32 nr)
{
	ranges = all;
	ranges_nr = nr;
}

static const __u8 *memory_at(__u64 address, __u32 size)
{
	__u32 low = 0, high = ranges_nr, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (ranges[mid].start + ranges[mid].size <= address)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < ranges_nr && address >= ranges[low].start &&
	    address - ranges[low].start + size <= ranges[low].size)
		return ranges[low].memory + (address - ranges[low].start);
	return NULL;
}

long bpf_probe_read_kernel(void *to, __u32 size, const void *address)
{
	const __u8 *from;

	host_tick();
	from = memory_at((__u64)address, size);
	if (from)
		memcpy(to, from, size);
	else
		memset(to, 0, size);
	return from ? 0 : -EFAULT;
}

__u64 host_load_any(__u64 address)
{
	__u64 value;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

#ifdef HOST_QUICK
struct host_quick host_quick;

void host_set_quick(__u64 start, __u64 size, const __u8 *memory)
{
	host_quick = (struct host_quick){start, size, memory};
}
#else
__u64 host_load(__u64 address)
{
	return host_load_any(address);
}

void *bpf_rdonly_cast(const void *object, __u32 type)
{
	return (void *)object;
}
#endif

/* Maps. */

static __u32 cpus = 1;

static struct host_map *map_named(const char *name)
{
	struct host_map *map;

	for (map = host_maps; map->name; map++)
		if (!strcmp(map->name, name))
			return map;
	return give_up("no such map", name);
}

static struct host_map *map_of(const void *definition)
{
	struct host_map *map;

	for (map = host_maps; map->name; map++)
		if (map->definition == definition)
			return map;
	return give_up("no such map", "by its address");
}

static __u64 values_size(const struct host_map *map)
{
	__u64 size = (map->value_size + 7) & ~7ULL;

	return map->type == PERCPU_ARRAY || map->type == PERCPU_HASH ? size * cpus : size;
}

static __u64 element_size(const struct host_map *map)
{
	if (map->type == PERCPU_HASH)
		return ((map->key_size + 7) & ~7ULL) + values_size(map);
	if (map->type == STACK_TRACE) /* a length, and that many addresses */
		return 8 + values_size(map);
	return values_size(map);
}

/*
 * Make a map of other sizes than in its definition, or of those (0), and return where its memory
 * is. With a file descriptor that is the file's: a map that user space maps.
 */
void *host_map_make(const char *name, __u32 value_size, __u32 max_entries, __u32 possible_cpus,
		    int fd)
{
	struct host_map *map = map_named(name);
	__u64 size;

	cpus = possible_cpus;
	if (value_size)
		map->value_size = value_size;
	if (max_entries)
		map->max_entries = max_entries;
	map->used = 0;
	if (fd < 0) {
		free(map->memory);
		map->memory = calloc(map->max_entries, element_size(map));
		return map->memory;
	}
	if (map->type == RINGBUF) { /* two pages, and the data twice in a row */
		size = map->max_entries;
		map->memory =
		    mmap(NULL, 2 * PAGE + 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		mmap(map->memory + 2 * PAGE + size, size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED, fd, 2 * PAGE);
		return map->memory;
	}
	size = (element_size(map) * map->max_entries + PAGE - 1) & ~(PAGE - 1);
	map->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map->memory;
}

/* Map the data of a ring that user space has mapped twice in a row: no record is in two parts. */
void host_ring_wraps(void *data, __u64 size, int fd)
{
	mmap(data + size, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 2 * PAGE);
}

/* Let go of a map's memory that is a file's. */
void host_map_unmap(const char *name)
{
	struct host_map *map = map_named(name);
	__u64 size = element_size(map) * map->max_entries;

	if (map->type == RINGBUF)
		munmap(map->memory, 2 * PAGE + 2ULL * map->max_entries);
	else
		munmap(map->memory, (size + PAGE - 1) & ~(PAGE - 1));
	map->memory = NULL;
}

static __u8 *hash_find(struct host_map *map, const void *key)
{
	__u32 i;

	for (i = 0; i < map->used; i++)
		if (!memcmp(map->memory + i * element_size(map), key, map->key_size))
			return map->memory + i * element_size(map) + ((map->key_size + 7) & ~7ULL);
	return NULL;
}

static __u64 own_value(const struct host_map *map)
{
	return here->cpu * ((map->value_size + 7) & ~7ULL);
}

void *bpf_map_lookup_elem(void *definition, const void *key)
{
	struct host_map *map = map_of(definition);
	__u8 *found;
	__u32 index;

	host_tick();
	if (map->type == PERCPU_HASH) {
		found = hash_find(map, key);
		return found ? found + own_value(map) : NULL;
	}
	index = *(const __u32 *)key;
	if (!map->memory || index >= map->max_entries)
		return NULL;
	found = map->memory + index * element_size(map);
	return map->type == PERCPU_ARRAY ? found + own_value(map) : found;
}

long bpf_map_update_elem(void *definition, const void *key, const void *value, __u64 flags)
{
	struct host_map *map = map_of(definition);
	__u8 *found;

	host_tick();
	if (map->type != PERCPU_HASH)
		give_up("not made for this", map->name);
	found = hash_find(map, key);
	if (!found) {
		if (map->used == map->max_entries)
			return -E2BIG;
		found = map->memory + map->used++ * element_size(map);
		memcpy(found, key, map->key_size);
		found += (map->key_size + 7) & ~7ULL;
		memset(found, 0, values_size(map));
	}
	memcpy(found + own_value(map), value, map->value_size);
	return 0;
}

/* Keys of a hash. */
__u32 host_map_used(const char *name)
{
	return map_named(name)->used;
}

/* The ring: kernel/bpf/ringbuf.c. */

#define consumed(map) ((__u64 *)(map)->memory)
#define produced(map) ((__u64 *)((map)->memory + PAGE))
#define BUSY	      (1U << 31)

void *bpf_ringbuf_reserve(void *definition, __u64 size, __u64 flags)
{
	struct host_map *map = map_of(definition);
	__u64 at, length = (size + 8 + 7) & ~7ULL;
	__u8 *record;

	host_tick();
	at = *produced(map); /* the kernel holds a lock from here on */
	if (here->ring_locked || at + length - *consumed(map) > map->max_entries - 1ULL)
		return NULL;
	record = map->memory + 2 * PAGE + (at & (map->max_entries - 1));
	memset(record, 0xa5, length); /* what was there before: nothing is cleared */
	*(__u32 *)record = size | BUSY;
	__atomic_store_n(produced(map), at + length, __ATOMIC_RELEASE);
	return record + 8;
}

void bpf_ringbuf_submit(void *record, __u64 flags)
{
	__u32 *length = (__u32 *)((__u8 *)record - 8);

	host_tick();
	__atomic_store_n(length, *length & ~BUSY, __ATOMIC_RELEASE);
}

__u64 bpf_ringbuf_query(void *definition, __u64 what)
{
	struct host_map *map = map_of(definition);

	return what ? map->max_entries : *produced(map) - *consumed(map);
}

/* Stacks: kernel/bpf/stackmap.c. */

long bpf_get_stack(void *ctx, void *to, __u32 size, __u64 flags)
{
	__u64 bytes;

	host_tick();
	if (here->stacked <= 0)
		return here->stacked;
	bytes = here->stacked * 8ULL;
	if (bytes > size)
		bytes = size;
	memset(to, 0, size);
	memcpy(to, here->stack, bytes);
	return bytes;
}

long bpf_get_stackid(void *ctx, void *definition, __u64 flags)
{
	struct host_map *map = map_of(definition);
	__u64 hash = 0, frames, *bucket;
	__s64 i;

	host_tick();
	if (here->stacked <= 0)
		return here->stacked ? here->stacked : -EFAULT;
	frames = here->stacked;
	if (frames > map->value_size / 8)
		frames = map->value_size / 8;
	for (i = 0; i < (__s64)frames; i++)
		hash = (hash ^ here->stack[i]) * 0x9e3779b97f4a7c15ULL;
	hash = hash >> 40 & (map->max_entries - 1);
	bucket = (__u64 *)(map->memory + hash * element_size(map));
	if (*bucket && (*bucket != frames || memcmp(bucket + 1, here->stack, frames * 8)))
		return -EEXIST;
	*bucket = frames;
	memcpy(bucket + 1, here->stack, frames * 8);
	return hash;
}

/* The rest. */

long bpf_loop(__u32 times, void *function, void *context, __u64 flags)
{
	long (*step)(__u32 index, void *context) = (long (*)(__u32, void *))function;
	__u32 i;

	for (i = 0; i < times; i++)
		if (step(i, context))
			return i + 1;
	return i;
}

__u64 bpf_ktime_get_ns(void)
{
	here->now += here->ns;
	return here->now;
}

__u32 bpf_get_prandom_u32(void)
{
	here->random = here->random << 32 | here->random >> 32;
	return here->random;
}

__u32 bpf_get_smp_processor_id(void)
{
	return here->cpu;
}

__u64 bpf_get_current_task(void)
{
	return here->task;
}

__u64 bpf_get_current_pid_tgid(void)
{
	return (__u64)here->tgid << 32 | here->pid;
}

long bpf_get_current_comm(void *to, __u32 size)
{
	memcpy(to, here->comm, size < sizeof(here->comm) ? size : sizeof(here->comm));
	return 0;
}

__u64 bpf_get_current_cgroup_id(void)
{
	return here->cgroup;
}

__u64 bpf_get_current_ancestor_cgroup_id(int level)
{
	return level < 0 || level >= HOST_CGROUPS ? 0 : here->cgroups[level];
}

__u64 bpf_get_func_ip(void *ctx)
{
	return here->func_ip;
}

__u64 bpf_get_attach_cookie(void *ctx)
{
	return here->cookie;
}

long bpf_get_func_arg_cnt(void *ctx)
{
	return here->arguments;
}

void *host_own_frame(void)
{
	return (void *)here->own_frame;
}

/* Tail calls: programs in the slots of the one array of programs. */

static int (*tails[2])(void *ctx);

void host_set_tail(__u32 slot, int (*program)(void *ctx))
{
	tails[slot] = program;
}

int host_tail_call(void *ctx, __u32 slot, int *result)
{
	host_tick();
	if (!tails[slot])
		return 0;
	*result = tails[slot](ctx);
	return 1;
}

static __u8 written[PAGE];
static __u32 written_nr;

struct seq_file;

long bpf_seq_write(struct seq_file *seq, const void *data, __u32 size)
{
	if (written_nr + size > sizeof(written))
		return -EOVERFLOW;
	memcpy(written + written_nr, data, size);
	written_nr += size;
	return 0;
}

/* What has been written since the last call. */
__u32 host_take_written(void *to)
{
	__u32 size = written_nr;

	memcpy(to, written, size);
	written_nr = 0;
	return size;
}

/* Running it. */

/* A variable's address; with a file descriptor its pages are that file's from now on. */
void *host_symbol(const char *name, __u64 *size, int fd)
{
	const struct host_symbol *symbol;
	__u64 start, end;

	for (symbol = host_symbols; symbol->name; symbol++)
		if (!strcmp(symbol->name, name))
			break;
	if (!symbol->name)
		return give_up("no such variable", name);
	*size = symbol->size;
	if (fd >= 0)
		return mmap(symbol->at, symbol->size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, fd, 0);
	/* Constants as well: user space writes them before the programs are loaded. */
	start = (__u64)symbol->at & ~(PAGE - 1);
	end = ((__u64)symbol->at + symbol->size + PAGE - 1) & ~(PAGE - 1);
	mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
	return symbol->at;
}

int (*host_find_program(const char *name))(void *ctx)
{
	const struct host_program *program;

	for (program = host_programs; program->name; program++)
		if (!strcmp(program->name, name))
			return program->run;
	give_up("no such program", name);
	return NULL;
}

/* Put a program into the array of programs. */
void host_set_tail_program(__u32 slot, const char *name)
{
	tails[slot] = host_find_program(name);
}

/* Run a program on a CPU; from a pause of another one's as well. */
int host_run(const char *name, void *ctx, struct host_cpu *cpu)
{
	int (*program)(void *ctx) = host_find_program(name);
	struct host_cpu *before = here;
	int result;

	here = cpu;
	result = program(ctx);
	here = before;
	return result;
}

void host_set_cpu(struct host_cpu *cpu)
{
	here = cpu;
}

/* For whoever declares it again. */
int host_cpu_bytes(void)
{
	return sizeof(struct host_cpu);
}
