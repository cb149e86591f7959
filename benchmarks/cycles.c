/* SPDX-License-Identifier: MIT */
/* cycles.c: time programs of bpf/ in this process; compiled by cycles.py. */
#include <stdint.h>
#include <x86intrin.h>

struct hit {
	int (*program)(void *ctx);
	void *context;
	struct host_cpu *cpu;
	uint64_t stack; /* the task's */
	uint64_t stack_size;
	const uint8_t *memory;
};

void host_set_quick(uint64_t start, uint64_t size, const uint8_t *memory);
void host_set_cpu(struct host_cpu *cpu);

/*
 * Take hits in turn, and store how many ticks of the TSC each took. Before each, size bytes of
 * other memory are read, so that little of the caches holds what the program needs.
 */
void take(const struct hit *hits, uint32_t nr, uint32_t rounds, const volatile uint8_t *other,
	  uint64_t size, uint32_t *ticks)
{
	uint32_t unused;

	for (uint32_t i = 0; i < rounds; i++) {
		const struct hit *hit = &hits[i % nr];
		uint64_t began;

		for (uint64_t at = 0; at < size; at += 64)
			other[at];
		host_set_cpu(hit->cpu);
		host_set_quick(hit->stack, hit->stack_size, hit->memory);
		_mm_lfence();
		began = __rdtsc();
		_mm_lfence();
		hit->program(hit->context);
		ticks[i] = __rdtscp(&unused) - began;
	}
}
